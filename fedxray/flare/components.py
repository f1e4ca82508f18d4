"""The names of our classes that NVFlare makes: those that a kit names, and those that a kit allows a job to name."""

from fedxray.core.names import NamesOnly

# A job may name these: they are added to NVFlare's own list in each kit.
ALLOWED: NamesOnly = (
    "fedxray.flare.site.SiteAlone",
    "fedxray.flare.site.SiteCard",
    "fedxray.flare.site.SiteEvaluator",
    "fedxray.flare.site.SiteTrainer",
    "fedxray.flare.server.AloneController",
    "fedxray.flare.server.CardCollector",
    "fedxray.flare.server.ChosenModels",
    "fedxray.flare.server.FederationController",
)
LAUNCHER = "nvflare.app_common.job_launcher"
IN_PLACE_OF = {  # {NVFlare's component in a kit: ours}
    f"{LAUNCHER}.client_process_launcher.ClientProcessJobLauncher": "fedxray.flare.launcher.ClientLauncher",
    f"{LAUNCHER}.server_process_launcher.ServerProcessJobLauncher": "fedxray.flare.launcher.ServerLauncher",
    "nvflare.apis.impl.job_def_manager.SimpleJobDefManager": "fedxray.flare.store.JobManager",
}
ADMISSION = "fedxray.flare.admission.Admission"  # a further component of the server
CERTIFICATES = "fedxray.flare.certificates.Certificates"  # the builder that the project file names
