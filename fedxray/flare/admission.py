"""Who may take part, on the server: the certificates of a list that is read every second; all others are refused.

NVFlare trusts every certificate of the project's root, for as long as the root lasts, and every token that it ever gave
out. Here a token carries the fingerprint of the certificate for which it was given out (the server signs a token, so
none can be forged), and holds as long as `local/admitted.json` in the server's kit has that certificate.
"""

import contextlib
import json
import threading
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, RunProcessKey
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.cellnet.defs import IdentityChallengeKey
from nvflare.private.defs import CellMessageHeaderKeys
from nvflare.private.fed.authenticator import MISSING_CLIENT_FQCN
from nvflare.private.fed.utils.identity_utils import load_crt_chain_bytes

from fedxray import __version__
from fedxray.core.files import read_json, write_json
from fedxray.flare.certificates import fingerprint
from fedxray.flare.kits import ADMITTED
from fedxray.flare.tasks import PROTOCOL

POLL_S = 1.0
REGISTERED = "registered.json"  # in the server's kit: {site: the versions that it said it has} when it registered


def registered(kit: Path) -> dict[str, dict[str, str]]:
    """{site: the versions that it said it has} of all that have joined the server of this kit; {} of none."""
    path = kit / REGISTERED
    return read_json(path) if path.exists() else {}


def strangers(kit: Path) -> dict[str, str]:
    """{site: why it is not asked} of the sites that said they have another protocol than this server.

    A site that has said nothing runs from the server's own files, on the server's machine.
    """
    here = f"the server has fedxray {__version__} of protocol {PROTOCOL}; update the older one, and start it again"
    others = {site: said for site, said in registered(kit).items() if said.get("protocol") != PROTOCOL}
    return {
        site: f"it has fedxray {said.get('fedxray', '?')} of protocol {said.get('protocol', 'none')}, and {here}"
        for site, said in others.items()
    }


class Admission(FLComponent):
    """A component of the server's process (not of a job's): it refuses, and drops, whoever is not on the list."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Take over NVFlare's checks at the bootstrap, which comes before any registration is accepted."""
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            self.server = fl_ctx.get_prop(FLContextKey.SITE_OBJ)
            workspace = fl_ctx.get_engine().get_workspace()
            self.path, self.folder = Path(workspace.get_site_config_dir()) / ADMITTED, Path(workspace.get_root_dir())
            manager = self.server.client_manager
            self.register, manager.authenticated_client = manager.authenticated_client, self._register
            self.resolve, self.server._resolve_client_fqcn_for_auth = (
                self.server._resolve_client_fqcn_for_auth,
                self._resolve,
            )
            self.admitted, self.versions = {}, registered(self.folder)
            threading.Thread(target=self._watch, daemon=True, name="admission").start()

    def _read(self) -> dict[str, str]:
        """Read the list. While it cannot be read the last good one holds; before the first, nobody is admitted."""
        try:
            self.admitted = json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            self.logger.error(f"{self.path}: cannot be read ({error}); rerun fedxray-server provision")
        return self.admitted

    def _register(self, request, fl_ctx: FLContext, client_type: str):
        """Admit a client as `ClientManager.authenticated_client` does, or return None.

        A client that is refused does not reach NVFlare, which would end an earlier session of its name.
        """
        name, certificate = request.get_header(CellMessageHeaderKeys.CLIENT_NAME), ""
        with contextlib.suppress(Exception):  # the request has no certificate, or something else in its place
            certificate = fingerprint(load_crt_chain_bytes(request.payload[IdentityChallengeKey.CERT])[0])
        if not certificate or self._read().get(name) != certificate:
            self.logger.warning(f"refused {name}: certificate {certificate[:16] or 'missing'} is not admitted")
            fl_ctx.set_prop(FLContextKey.UNAUTHENTICATED, f"{name} is not admitted with this certificate", sticky=False)
            return None
        client = self.register(request, fl_ctx, client_type)
        if client:
            client.token = f"{client.token}.{certificate}"
            self._note(name, (client.get_site_config() or {}).get("versions"))
            self._miss(name)
        return client

    def _miss(self, name: str) -> None:
        """Tell the jobs in which a site takes part that it has joined anew.

        After a restart its processes of these jobs are gone, which NVFlare does not notice by itself. After a broken
        connection they are there, and their next sign of life says so within NVFlare's minute of grace.
        """
        for job, process in list(self.server.engine.run_processes.items()):
            if name in {client.name for client in (process.get(RunProcessKey.PARTICIPANTS) or {}).values()}:
                self.server.engine.notify_dead_job(job, name, "has joined anew")

    def _resolve(self, name: str, token: str):
        """Check who has sent a message, as NVFlare does; nobody comes through with a token that no longer holds."""
        _, dot, certificate = token.partition(".")
        if dot and self.admitted.get(name) != certificate:
            return MISSING_CLIENT_FQCN
        return self.resolve(name, token)

    def _watch(self) -> None:
        """End the sessions of certificates that have left the list."""
        while not self.server.shutdown:
            admitted = self._read()
            for token, client in list(self.server.client_manager.get_clients().items()):
                if admitted.get(client.name) != token.partition(".")[2]:
                    self.logger.warning(f"dropped {client.name}: its certificate is no longer admitted")
                    self.server.logout_client(token)
            threading.Event().wait(POLL_S)

    def _note(self, name: str, versions: dict | None) -> None:
        """Keep the versions that a site says it has, for `fedxray-server status`."""
        if versions:
            self.versions[name] = versions
            write_json(self.folder / REGISTERED, self.versions)
