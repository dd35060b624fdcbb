"""How does a test use Terraform? Its binary, a provider that is on this machine, and a folder.

The provider has 700 MB and is never downloaded: it is taken from the filesystem mirrors that
Terraform itself knows, and from those that `mirrors` lists. Where either is missing, tests skip.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.iac import iac_kit

#: Names a folder that holds provider packages as a filesystem mirror does.
MIRROR_VARIABLE = "CACHEWRIGHT_TF_MIRROR"
#: Terraform's implied mirrors, by its documentation of `provider_installation`.
_IMPLIED = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)
#: Where machines that are set up for work without a network keep them.
_USUAL = ("/opt", "/srv", "/usr/local/lib", "/usr/lib/terraform", "/var/lib/terraform")
#: A mirror's layout: registry, namespace, type, version, platform.
_PROVIDER = "*/hashicorp/aws/*/*/terraform-provider-aws_*"
#: All resources of a configuration at the same time: each waits 30 s, whatever happens.
_PARALLELISM = "-parallelism=20"
_NO_CHANGES, _CHANGES = 0, 2
_STATE = "terraform.tfstate"
#: Both programs allocate a gigabyte for the provider's schema in each command; collecting the
#: garbage less often saves a quarter of their processor time.
_GARBAGE_PERCENT = "400"


def mirrors() -> Iterator[Path]:
    """Yield the folders that may be a mirror, the more explicit first."""
    for variable in (MIRROR_VARIABLE, "TF_PLUGIN_CACHE_DIR"):
        if named := os.environ.get(variable):
            yield Path(named)
    yield from (Path(folder).expanduser() for folder in _IMPLIED)
    for parent in map(Path, _USUAL):
        if parent.is_dir():
            yield parent
            yield from sorted(child for child in parent.iterdir() if child.is_dir())


def find_mirror() -> Path | None:
    """Return a folder with the AWS provider in it."""
    return next((folder for folder in mirrors() if any(folder.glob(_PROVIDER))), None)


def why_not() -> str | None:
    """Return why Terraform cannot be used here, `None` where it can."""
    if shutil.which("terraform") is None:
        return "terraform is not on PATH"
    if find_mirror() is None:
        return f"no filesystem mirror has hashicorp/aws; {MIRROR_VARIABLE} may name one"
    return None


class Terraform:
    """Terraform on a copy of a configuration; its state lives and dies with the folder."""

    def __init__(
        self, configuration: Path, folder: Path, environment: Mapping[str, str], **variables: object
    ) -> None:
        self._binary, mirror = shutil.which("terraform"), find_mirror()
        assert self._binary is not None
        assert mirror is not None
        self.folder = folder / configuration.name
        shutil.copytree(configuration, self.folder)
        settings = folder / "terraform.rc"
        settings.write_text(
            f'provider_installation {{\n  filesystem_mirror {{ path = "{mirror}" }}\n}}\n'
        )
        self._environment = dict(environment) | {
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
            "GOGC": _GARBAGE_PERCENT,
        }
        self.set(**variables)
        self._run("init", "-no-color")

    def set(self, **variables: object) -> None:
        """Give the variables of the configuration their values."""
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(variables))

    def apply(self) -> str:
        """Make what the configuration says and return what was said."""
        return self._run("apply", "-no-color", "-auto-approve", _PARALLELISM)

    def destroy(self) -> str:
        """Remove everything and return what was said."""
        return self._run("destroy", "-no-color", "-auto-approve", _PARALLELISM)

    def plan(self) -> str:
        """Return the changes that a plan shows; empty when there are none."""
        words = ("plan", "-no-color", "-detailed-exitcode", _PARALLELISM)
        said = self._run(*words, expects=(_NO_CHANGES, _CHANGES))
        return "" if "No changes." in said else said

    def resources(self) -> dict[str, str]:
        """Return what the state holds: address to id."""
        found = self._state()["resources"]
        return {
            f"{each['type']}.{each['name']}": str(each["instances"][0]["attributes"]["id"])
            for each in found
        }

    def output(self, name: str) -> Any:
        """Return an output of the configuration."""
        return self._state()["outputs"][name]["value"]

    def _state(self) -> dict[str, Any]:
        # Read here: a command of Terraform starts the provider first, which takes 4 s of a core.
        state: dict[str, Any] = json.loads((self.folder / _STATE).read_bytes())
        return state

    def forget(self) -> None:
        """Lose the state, as somebody does who begins with what others made."""
        (self.folder / _STATE).unlink()

    def import_all(self, resources: Mapping[str, str]) -> str:
        """Take things that exist into the state, by address and id; return what was said."""
        blocks = (
            f'import {{\n  to = {address}\n  id = "{identifier}"\n}}\n'
            for address, identifier in resources.items()
        )
        (self.folder / "imports.tf").write_text("\n".join(blocks))
        said = self.apply()
        (self.folder / "imports.tf").unlink()
        return said

    def _run(self, *words: str, expects: Sequence[int] = (0,)) -> str:
        assert self._binary is not None
        return iac_kit.run(
            [self._binary, *words],
            folder=self.folder,
            environment=self._environment,
            expects=expects,
        )
