"""What this package assumes of NVFlare beside its documented interface: one list, for whoever upgrades NVFlare.

`tests/flare/test_private_api.py` holds each assumption against the installed NVFlare, and says of one that broke which
file of ours made it. `fedxray.core.workers` says how to run a new version without our forks.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fedxray.core.files import read_json
from fedxray.flare.loopback import OPTIONS


class Claim(Protocol):
    """Something that can be said of an object of NVFlare's."""

    def fault(self, value: Any) -> str:
        """What is wrong, as the end of a sentence about the object; empty if the claim holds."""


class Exists:
    """The object is there under its name."""

    def fault(self, value: Any) -> str:
        """Nothing: an object that is not there is told when it is looked up."""
        return ""


@dataclass(frozen=True)
class Is:
    """A constant has this value."""

    expected: object

    def fault(self, value: Any) -> str:
        """What it has instead."""
        return "" if value == self.expected else f"is {value!r} and not {self.expected!r}"


class Takes:
    """A function or class takes these parameters by name, in this order."""

    def __init__(self, *names: str):
        self.names = names

    def fault(self, value: Any) -> str:
        """Which parameters it takes instead."""
        names = [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]
        return "" if [name for name in names if name in self.names] == list(self.names) else f"takes {names}"


class Has:
    """An object has these attributes, or sets them on itself."""

    def __init__(self, *names: str):
        self.names = names

    def fault(self, value: Any) -> str:
        """Which one is missing."""
        source = inspect.getsource(value)
        missing = [name for name in self.names if not hasattr(value, name) and f"self.{name} = " not in source]
        return f"has no {', '.join(missing)}" if missing else ""


class Says:
    """The source of a module or function has these texts: log lines, keys of files, calls."""

    def __init__(self, *texts: str):
        self.texts = texts

    def fault(self, value: Any) -> str:
        """Which one is missing."""
        source = inspect.getsource(value)
        missing = [text for text in self.texts if text not in source]
        return f"no longer has {missing}" if missing else ""


class Assumption(NamedTuple):
    """One assumption of a file of ours about an object of NVFlare's."""

    file: str  # below fedxray/
    module: str
    name: str  # the object's in the module, dotted; empty for the module itself
    claim: Claim

    def fault(self) -> str:
        """A sentence that says what broke, and whose assumption it was; empty if it holds."""
        try:
            value: Any = import_module(self.module)
            for part in filter(None, self.name.split(".")):
                value = getattr(value, part)
            fault = self.claim.fault(value)
        except (ImportError, AttributeError):
            fault = "is gone"
        where = f"{self.module}.{self.name}".rstrip(".")
        return f"fedxray/{self.file} relies on {where}, which {fault}" if fault else ""


class KitFile(NamedTuple):
    """One assumption of a file of ours about a startup kit as NVFlare provisions it."""

    file: str  # below fedxray/
    kind: str  # server | client | admin
    path: str  # in the kit
    keys: tuple[str, ...] = ()  # dotted, that its JSON must have; a part may be the number or the `id` of a list's item

    def fault(self, kit: Path) -> str:
        """A sentence as `Assumption.fault`."""
        if not (kit / self.path).exists():
            return f"fedxray/{self.file} relies on {self.path} in the {self.kind}'s kit, which is gone"
        values = read_json(kit / self.path) if self.keys else {}
        missing = ", ".join(key for key in self.keys if not _reaches(values, key))
        return f"fedxray/{self.file} relies on {self.path} in the {self.kind}'s kit, which has no {missing}" * bool(
            missing
        )


def _reaches(value: Any, key: str) -> bool:
    """Whether the dotted `key` leads to something."""
    if not key:
        return True
    first, _, rest = key.partition(".")
    if isinstance(value, list):
        value = {str(number): item for number, item in enumerate(value)} | {item.get("id"): item for item in value}
    return isinstance(value, dict) and first in value and _reaches(value[first], rest)


def _of(file: str, *assumptions: tuple[str, str, Claim]) -> Iterator[Assumption]:
    """The assumptions of one file: (module, name, claim) each."""
    return (Assumption(file, *assumption) for assumption in assumptions)


LAUNCHERS = "nvflare.app_common.job_launcher"
CELL = "nvflare.fuel.f3.cellnet"
DOWNLOADS = "nvflare.fuel.f3.streaming.download_service"

ASSUMPTIONS = (
    *_of(
        "flare/guard.py",
        # The processes of a server and a site are modules that run with these options.
        (
            "nvflare.private.fed.app.server.server_train",
            "",
            Says('"-m"', '"-s"', '"--set"', 'kv_list.get("config_folder"'),
        ),
        ("nvflare.private.fed.app.client.client_train", "", Says('"-m"', '"-s"', '"--set"', 'kv_list.get("uid")')),
        ("nvflare.private.fed.app.server.server_train", "", Says('cmd_vars.get("secure_train"', "mpm.run(")),
        ("nvflare.private.fed.app.client.client_train", "", Says("deployer.secure_train", "mpm.run(")),
        ("nvflare.fuel.f3.mpm", "MainProcessMonitor.run", Takes("main_func", "shutdown_grace_time")),
        # Where NVFlare waits before it looks again, and before it connects again; what it loads at each connection.
        ("nvflare.private.fed.server.job_runner", "", Says("time.sleep(1.0)")),
        ("nvflare.private.fed.client.client_app_runner", "", Says("time.sleep(0.5)")),
        (f"{CELL}.connector_manager", "", Says("time.sleep(0.5)")),
        ("nvflare.fuel.f3.sfm", "conn_manager", Says("wait = INIT_WAIT")),
        ("nvflare.fuel.f3", "drivers", Exists()),
        ("nvflare.fuel.f3.communicator", "", Says("driver_mgr.search_folder(os.path.dirname(drivers.__file__)")),
        # NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT: how long a server waits at a job's end for a site that is gone.
        ("nvflare.fuel.utils.config_service", "ENV_VAR_PREFIX", Is("NVFLARE_")),
        ("nvflare.apis.fl_constant", "ConfigVarName.CLIENT_OUTCOME_WAIT_TIMEOUT", Is("client_outcome_wait_timeout")),
        ("nvflare.private.fed.server.job_runner", "", Says("CLIENT_OUTCOME_WAIT_TIMEOUT")),
    ),
    *_of(
        "flare/launcher.py",
        # A job's process is started by a launcher of the kit, whose command is made of these arguments.
        (f"{LAUNCHERS}.process_launcher", "ProcessJobLauncher.launch_job", Takes("job_meta", "fl_ctx")),
        (f"{LAUNCHERS}.process_launcher", "ProcessJobLauncher.launch_job", Says("self.get_command(", "shlex.split(")),
        (f"{LAUNCHERS}.process_launcher", "ProcessHandle", Takes("process_adapter")),
        ("nvflare.utils.process_utils", "ProcessAdapter", Exists()),
        (f"{LAUNCHERS}.process_launcher", "ProcessHandle.poll", Says("self.adapter.poll()")),
        (f"{LAUNCHERS}.process_launcher", "ProcessHandle.wait", Says("self.adapter.wait()")),
        (f"{LAUNCHERS}.process_launcher", "ProcessHandle.terminate", Says("self.adapter.terminate()")),
        (f"{LAUNCHERS}.client_process_launcher", "ClientProcessJobLauncher.get_command", Takes("job_meta", "fl_ctx")),
        (f"{LAUNCHERS}.server_process_launcher", "ServerProcessJobLauncher.get_command", Takes("job_meta", "fl_ctx")),
        ("nvflare.utils.job_launcher_utils", "get_credential_env", Takes("job_args")),
        ("nvflare.utils.job_launcher_utils", "get_client_job_args", Exists()),
        ("nvflare.utils.job_launcher_utils", "get_server_job_args", Exists()),
        ("nvflare.utils.job_launcher_utils", "_job_args_str", Says("n, v = e")),
        ("nvflare.apis.job_launcher_spec", "JobProcessArgs.OPTIONS", Is("options")),
        ("nvflare.private.fed.client.client_executor", "", Says("key=FLContextKey.JOB_PROCESS_ARGS")),
        ("nvflare.private.fed.server.server_engine", "", Says("key=FLContextKey.JOB_PROCESS_ARGS")),
        ("nvflare.private.fed.client.client_executor", "", Says('command_options += " " + t')),
        ("nvflare.private.fed.server.server_engine", "", Says('command_options += " " + t')),
    ),
    *_of(
        "flare/packing.py",
        # Ours takes the place of how NVFlare downloads arrays.
        (
            "nvflare.app_common.decomposers.numpy_decomposers",
            "NumpyArrayDecomposer.to_downloadable",
            Takes("items", "max_chunk_size", "fobs_ctx"),
        ),
        (
            "nvflare.app_common.decomposers.numpy_decomposers",
            "NumpyArrayDecomposer.download",
            Takes("from_fqcn", "ref_id", "per_request_timeout", "cell", "secure", "abort_signal", "progress_cb"),
        ),
        (DOWNLOADS, "Downloadable.produce", Takes("state", "requester")),
        (DOWNLOADS, "Consumer.consume", Takes("ref_id", "state", "data")),
        (DOWNLOADS, "Consumer", Has("supports_pipelining", "download_completed", "download_failed")),
        (
            DOWNLOADS,
            "download_object",
            Takes("from_fqcn", "ref_id", "per_request_timeout", "cell", "consumer", "secure", "abort_signal"),
        ),
        (DOWNLOADS, "ProduceRC", Has("OK", "EOF")),
    ),
    *_of(
        "flare/store.py",
        # Ours takes the place of NVFlare's scan of all jobs.
        ("nvflare.apis.impl.job_def_manager", "SimpleJobDefManager._scan", Takes("job_filter", "fl_ctx", "skip_tag")),
        ("nvflare.apis.impl.job_def_manager", "SimpleJobDefManager._get_job_store", Takes("fl_ctx")),
        ("nvflare.apis.impl.job_def_manager", "SimpleJobDefManager.job_uri", Takes("jid")),
        ("nvflare.apis.impl.job_def_manager", "SimpleJobDefManager", Has("uri_root")),
        ("nvflare.apis.impl.job_def_manager", "JobInfo", Takes("meta", "job_id", "uri")),
        ("nvflare.apis.storage", "StorageSpec.list_objects", Takes("path", "without_tag")),
        ("nvflare.apis.storage", "StorageSpec.get_meta", Takes("uri")),
        ("nvflare.apis.storage", "StorageException", Exists()),
    ),
    *_of(
        "flare/admission.py",
        # Ours takes the place of two methods of the server, and reads these of what they are given.
        (
            "nvflare.private.fed.server.fed_server",
            "FederatedServer._resolve_client_fqcn_for_auth",
            Takes("client_name", "token"),
        ),
        ("nvflare.private.fed.server.fed_server", "", Says("client_fqcn_resolver=self._resolve_client_fqcn_for_auth")),
        ("nvflare.private.fed.server.fed_server", "FederatedServer.logout_client", Takes("token")),
        ("nvflare.private.fed.server.fed_server", "BaseServer", Has("client_manager", "shutdown")),
        ("nvflare.private.fed.server.fed_server", "", Says("get_prop(FLContextKey.UNAUTHENTICATED)")),
        (
            "nvflare.private.fed.app.deployer.server_deployer",
            "",
            Says("set_prop(FLContextKey.SITE_OBJ, services", "fire_event(EventType.SYSTEM_BOOTSTRAP"),
        ),
        (
            "nvflare.private.fed.server.client_manager",
            "ClientManager.authenticated_client",
            Takes("request", "fl_ctx", "client_type"),
        ),
        (
            "nvflare.private.fed.server.client_manager",
            "",
            Says("return self.authenticated_client(client_login, fl_ctx, client_type)"),
        ),
        ("nvflare.private.fed.server.client_manager", "ClientManager.get_clients", Exists()),
        ("nvflare.private.fed.server.client_manager", "", Says("load_crt_chain_bytes(asserter_cert_data)")),
        ("nvflare.private.fed.utils.identity_utils", "load_crt_chain_bytes", Exists()),
        ("nvflare.private.fed.authenticator", "MISSING_CLIENT_FQCN", Is("")),
        ("nvflare.private.defs", "CellMessageHeaderKeys.CLIENT_NAME", Exists()),
        (f"{CELL}.defs", "IdentityChallengeKey.CERT", Exists()),
        ("nvflare.apis.client", "Client", Has("token", "name", "get_site_config")),
        ("nvflare.apis.workspace", "Workspace", Has("get_site_config_dir", "get_root_dir")),
    ),
    *_of(
        "flare/certificates.py",
        # Ours sets the end of each certificate that NVFlare's builder makes.
        ("nvflare.lighter.impl.cert", "CertBuilder", Takes("root_valid_days")),
        ("nvflare.lighter.impl.cert", "CertBuilder", Has("root_cert")),
        ("nvflare.lighter.impl.cert", "CertBuilder._generate_cert", Takes("ca", "not_valid_after")),
        ("nvflare.lighter.impl.cert", "CertBuilder._validate_existing_root_validity", Exists()),
        (
            "nvflare.lighter.impl.cert",
            "CertBuilder",
            Says("self._generate_cert(", "self._validate_existing_root_validity()"),
        ),
    ),
    *_of(
        "flare/kits.py",
        # A kit's components of these names become ours; its file comm_config.json has these keys.
        (f"{LAUNCHERS}.client_process_launcher", "ClientProcessJobLauncher", Exists()),
        (f"{LAUNCHERS}.server_process_launcher", "ServerProcessJobLauncher", Exists()),
        ("nvflare.apis.impl.job_def_manager", "SimpleJobDefManager", Takes("uri_root")),
        (
            "nvflare.fuel.f3.comm_config",
            "",
            Says('"streaming_reliable"', '"streaming_retry_wait"', '"streaming_retry_timeout"'),
        ),
        # The rights that its policy takes away or gives, and where provisioning keeps what it has made.
        ("nvflare.apis.fl_constant", "AdminCommandNames.APP_COMMAND", Is("app_command")),
        ("nvflare.security.security", "CommandCategory.SHELL_COMMANDS", Is("shell_commands")),
        ("nvflare.private.fed.utils.app_authz", "_RIGHT_BYOC", Is("byoc")),
        ("nvflare.lighter.impl.cert", "_CertState.CERT_STATE_FILE", Is("cert.json")),
        ("nvflare.lighter.impl.cert", "_CertState._add_subject_prop", Says("self.content[subject] = subject_data")),
    ),
    *_of(
        "flare/loopback.py",
        # What comm_config.json says of gRPC, and of the connections between the processes of one participant.
        ("nvflare.fuel.f3.comm_config", "CommConfigurator", Has("_configuration", "_config_loaded", "get_config")),
        ("nvflare.fuel.f3.drivers.grpc_driver", "", Says('config.get("grpc")', 'my_params.get("options")')),
        ("nvflare.fuel.f3.drivers.grpc_driver", "GRPC_DEFAULT_OPTIONS", Is(OPTIONS)),
        ("nvflare.fuel.f3.drivers.net_utils", "MAX_FRAME_SIZE", Exists()),
        (f"{CELL}.connector_manager", "_KEY_INT", Is("internal")),
        (f"{CELL}.connector_manager", "", Says('_KEY_HOST: "localhost"', "int_conf.get(_KEY_RESOURCES)")),
    ),
    *_of(
        "flare/job.py",
        # The components and keys of a job's configuration.
        (
            "nvflare.app_common.workflows.cross_site_model_eval",
            "CrossSiteModelEval",
            Takes(
                "task_check_period",
                "validation_timeout",
                "model_locator_id",
                "submit_model_task_name",
                "participating_clients",
            ),
        ),
        ("nvflare.app_common.widgets.validation_json_generator", "ValidationJsonGenerator", Exists()),
        (
            "nvflare.private.fed.server.server_json_config",
            "",
            Says("server.heart_beat_timeout", "server.task_request_interval"),
        ),
        ("nvflare.apis.fl_constant", "ConfigVarName.MAX_RUNNER_SYNC_TIMEOUT", Is("max_runner_sync_timeout")),
    ),
    *_of(
        "flare/tasks.py",
        ("nvflare.app_common.app_constant", "AppConstants.TASK_VALIDATION", Is("validate")),
    ),
    *_of(
        "flare/engine.py",
        # Where the results of NVFlare's cross-site evaluation are, and how they call the server's models.
        ("nvflare.app_common.app_constant", "AppConstants.CROSS_VAL_DIR", Is("cross_site_val")),
        ("nvflare.app_common.widgets.validation_json_generator", "", Says('json_file_name="cross_val_results.json"')),
        ("nvflare.app_common.workflows.cross_site_model_eval", "", Says('"SRV_" + name')),
    ),
    *_of(
        "flare/one_host.py",
        # Keys of the server's file, and the form of a line of a log.
        ("nvflare.private.fed.server.fed_server", "FederatedServer", Takes("check_engine_frequency")),
        ("nvflare.private.fed.server.fed_server", "", Says('grpc_args.get("admin_port"')),
        ("nvflare.private.fed.client.fed_client_base", "", Says('client_args.get("client_register_interval"')),
        (f"{CELL}.core_cell", "CoreCell", Exists()),
    ),
    *_of(
        "flare/server.py",
        # Ours takes the place of the controller's check of a site's answer, and reads these.
        (
            "nvflare.app_common.workflows.base_model_controller",
            "BaseModelController._accept_train_result",
            Takes("client_name", "result", "fl_ctx", "is_unknown_task"),
        ),
        (
            "nvflare.app_common.workflows.base_model_controller",
            "",
            Says("self._accept_train_result(client_name=client_name"),
        ),
        (
            "nvflare.app_common.workflows.base_model_controller",
            "",
            Says('result_model.meta["client_name"] = client_name'),
        ),
        ("nvflare.app_common.workflows.base_model_controller", "", Says('f"Exception in model controller run: {')),
        ("nvflare.app_common.workflows.base_model_controller", "BaseModelController", Has("engine", "get_run_dir")),
        (
            "nvflare.app_common.workflows.base_model_controller",
            "BaseModelController",
            Takes("persistor_id", "ignore_result_error", "task_check_period"),
        ),
        (
            "nvflare.app_common.workflows.model_controller",
            "ModelController.send_model_and_wait",
            Takes("task_name", "data", "targets", "timeout"),
        ),
        ("nvflare.apis.server_engine_spec", "ServerEngineSpec.register_app_command", Takes("topic", "cmd_func")),
        (
            "nvflare.apis.server_engine_spec",
            "ServerEngineSpec.register_aux_message_handler",
            Takes("topic", "message_handle_func"),
        ),
        (
            "nvflare.private.fed.server.server_runner",
            "",
            Says("EventType.BEFORE_PROCESS_SUBMISSION", "FLContextKey.TASK_RESULT"),
        ),
        # When a site asks again for a task.
        (
            "nvflare.private.fed.server.server_runner",
            "ServerRunner",
            Says(
                "self.fire_event(EventType.BEFORE_PROCESS_TASK_REQUEST, fl_ctx)",
                "set_header(TaskConstant.WAIT_TIME, self.config.task_request_interval)",
            ),
        ),
        ("nvflare.private.fed.server.fed_server", "", Says("fl_ctx.set_prop(FLContextKey.RUNNER, self.server_runner")),
        ("nvflare.apis.workspace", "Workspace", Has("get_app_dir", "get_run_dir", "get_root_dir")),
    ),
    *_of(
        "flare/site.py",
        (
            "nvflare.private.fed.client.client_run_manager",
            "ClientRunManager.send_aux_request",
            Takes("targets", "topic", "request", "timeout", "fl_ctx", "optional"),
        ),
        ("nvflare.apis.workspace", "Workspace", Has("get_root_dir")),
    ),
    *_of(
        "flare/own.py",
        ("nvflare.apis.fl_constant", "WorkspaceConstants.SITE_FOLDER_NAME", Is("local")),
    ),
    *_of(
        "flare/session.py",
        # The cause of a failed connection, a job's states and times, and what a fetched result holds.
        ("nvflare.private.fed.authenticator", "", Says('FLCommunicationError("error:client_registration " + reason)')),
        (
            "nvflare.fuel.flare_api.flare_api",
            "new_secure_session",
            Takes("username", "timeout", "auto_login_max_tries"),
        ),
        ("nvflare.apis.job_def", "RunStatus.FINISHED_COMPLETED.value", Is("FINISHED:COMPLETED")),
        ("nvflare.apis.job_def", "RunStatus.FINISHED_ABORTED.value", Is("FINISHED:ABORTED")),
        ("nvflare.apis.job_def", "RunStatus.RUNNING.value", Is("RUNNING")),
        ("nvflare.apis.job_def", "RunStatus.DISPATCHED.value", Is("DISPATCHED")),
        ("nvflare.apis.job_def", "JobMetaKey.START_TIME.value", Is("start_time")),
        ("nvflare.apis.job_def", "JobMetaKey.SUBMIT_TIME_ISO.value", Is("submit_time_iso")),
        ("nvflare.apis.storage", "WORKSPACE", Is("workspace")),
        ("nvflare.fuel.flare_api.api_spec", "ServerInfo", Has("start_time")),
        ("nvflare.fuel.flare_api.api_spec", "ClientInfo", Has("name", "last_connect_time")),
    ),
    *_of(
        "operators/site.py",
        # The versions that a site puts into its resources.json reach the server when it registers.
        (
            "nvflare.private.fed.utils.site_config",
            "project_site_config",
            Says("if k not in SITE_CONFIG_EXCLUDED_TOP_LEVEL_KEYS"),
        ),
    ),
    *_of(
        "operators/process.py",
        # Lines of a process's output that are news, and the file that a shutdown leaves in a kit.
        ("nvflare.private.fed.client.fed_client_base", "", Says('"Successfully registered client:{} for project')),
        ("nvflare.private.fed.app.server.server_train", "", Says('logger.info("Server started")')),
        (f"{CELL}.core_cell", "", Says("for {topics} after {timeout} secs")),
        (f"{CELL}.core_cell", "CoreCell", Exists()),
        ("nvflare.private.defs", "CellChannelTopic.HEART_BEAT", Is("heart_beat")),
        ("nvflare.private.fed.authenticator", "", Says('f"registration rejected: {reason}"')),
        ("nvflare.apis.fl_constant", "WorkspaceConstants.SHUTDOWN_FILE", Is("shutdown.fl")),
    ),
)

KIT_FILES = (
    KitFile(
        "flare/one_host.py", "server", "startup/fed_server.json", ("servers.0.service.target", "servers.0.admin_port")
    ),
    KitFile("flare/one_host.py", "client", "startup/fed_client.json", ("servers.0.service.target", "client")),
    KitFile("flare/one_host.py", "admin", "startup/fed_admin.json", ("admin.port",)),
    KitFile("flare/session.py", "admin", "startup/fed_admin.json", ("admin.username", "admin.host", "admin.port")),
    KitFile("flare/certificates.py", "server", "startup/server.crt"),
    KitFile("flare/certificates.py", "client", "startup/client.crt"),
    KitFile("flare/certificates.py", "admin", "startup/client.crt"),
    KitFile("operators/checks.py", "client", "startup/client.key"),
    KitFile("operators/checks.py", "client", "startup/rootCA.pem"),
    KitFile("operators/archive.py", "client", "startup/start.sh"),
    KitFile(
        "flare/kits.py",
        "server",
        "local/resources.json.default",
        (
            "class_allow_list",
            "servers.0.admin_storage",
            "snapshot_persistor.args.storage.args.root_dir",
            "components.job_manager.args.uri_root",
            "components.process_launcher.path",
        ),
    ),
    KitFile(
        "flare/kits.py",
        "client",
        "local/resources.json.default",
        ("class_allow_list", "allow_log_streaming", "components.process_launcher.path"),
    ),
    *(
        KitFile(
            "flare/kits.py",
            kind,
            "local/authorization.json.default",
            ("permissions.project_admin", "permissions.org_admin.byoc", "permissions.org_admin.shell_commands"),
        )
        for kind in ("server", "client")
    ),
    *(
        KitFile("flare/one_host.py", kind, "local/log_config.json.default", ("handlers.errorFileHandler",))
        for kind in ("server", "client")
    ),
)
