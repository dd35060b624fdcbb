"""Do Ansible's modules drive the API as they drive ElastiCache? The example, and parameter groups.

`make setup-ansible` installs Ansible beside the rest. Where it is missing the tests skip, but in
CI they fail: there it is installed first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright import testing
from tests import service_kit
from tests.iac import iac_kit

PLAYBOOK = Path(__file__).parents[2] / ".venv-ansible" / "bin" / "ansible-playbook"
pytestmark = [
    pytest.mark.skipif(
        not PLAYBOOK.exists() and os.environ.get("CI") != "true",
        reason="Ansible is not installed: make setup-ansible",
    ),
    pytest.mark.slow,
    # A run takes 10 s of a core, mostly for starting Python in each task.
    pytest.mark.timeout(400),
]
EXAMPLE = iac_kit.EXAMPLES / "ansible" / "cache.yml"


class Ansible:
    """Ansible on this machine, with a service behind its modules."""

    def __init__(self, service: testing.Service, home: Path) -> None:
        self._home = home
        self._environment = iac_kit.environment_of(service, home) | {
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
        }

    def play(self, playbook: Path, **variables: object) -> dict[str, bool]:
        """Run a playbook; return the tasks that were carried out and whether each changed."""
        said = iac_kit.run(
            [PLAYBOOK, "-i", "localhost,", playbook, "-e", json.dumps(variables)],
            folder=self._home,
            environment=self._environment,
        )
        (play,) = json.loads(said[said.index("{") :])["plays"]
        results: Iterator[tuple[str, dict[str, Any]]] = (
            (task["task"]["name"], task["hosts"]["localhost"]) for task in play["tasks"]
        )
        return {
            name: bool(result["changed"]) for name, result in results if not result.get("skipped")
        }


@pytest.fixture
def ansible(service: testing.Service, tmp_path: Path) -> Ansible:
    return Ansible(service, tmp_path)


def test_the_playbook_creates_changes_and_removes(
    service: testing.Service, ansible: Ansible
) -> None:
    at_rest, api = iac_kit.processes_at_rest(service), service.client()
    made = ["A subnet group", "Pages, in Memcached", "Jobs, in Redis"]
    shown = dict.fromkeys(["What there is", "Where it is"], False)
    assert ansible.play(EXAMPLE) == {**dict.fromkeys(made, True), **shown}
    assert ansible.play(EXAMPLE) == {**dict.fromkeys(made, False), **shown}
    assert len(_pages(api)) == 2

    played = ansible.play(EXAMPLE, pages_nodes=1, description="One node")
    assert played == {made[0]: True, made[1]: True, made[2]: False, **shown}
    assert len(_pages(api)) == 1

    gone, asked = [*made[1:], "No subnet group"], {"What there is": False}
    assert ansible.play(EXAMPLE, state="absent") == {**dict.fromkeys(gone, True), **asked}
    assert ansible.play(EXAMPLE, state="absent") == {**dict.fromkeys(gone, False), **asked}
    assert iac_kit.left_behind(api) == []
    service_kit.wait_until("no process is left", lambda: set(service.processes()) == at_rest)


PARAMETERS = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: Values
      community.aws.elasticache_parameter_group: &set
        {name: mine, state: present, values: "{{ v }}"}
    - name: The same values
      community.aws.elasticache_parameter_group: *set
    - name: Defaults
      community.aws.elasticache_parameter_group: {name: mine, state: reset}
    - name: The same defaults
      community.aws.elasticache_parameter_group: {name: mine, state: reset}
    - name: No group
      community.aws.elasticache_parameter_group: {name: mine, state: absent}
    - name: Still no group
      community.aws.elasticache_parameter_group: {name: mine, state: absent}
"""


def test_values_of_a_parameter_group_are_set_reset_and_removed(
    service: testing.Service, ansible: Ansible, tmp_path: Path
) -> None:
    # The module itself creates groups of families that no engine here has.
    service.client().create_cache_parameter_group(
        CacheParameterGroupName="mine",
        CacheParameterGroupFamily="valkey8",
        Description="made elsewhere",
    )
    playbook = tmp_path / "parameters.yml"
    playbook.write_text(PARAMETERS)
    assert ansible.play(playbook, v={"maxmemory-policy": "allkeys-lru", "timeout": 60}) == {
        "Values": True,
        "The same values": False,
        "Defaults": True,
        "The same defaults": False,
        "No group": True,
        "Still no group": False,
    }
    assert iac_kit.left_behind(service.client()) == []


def _pages(api: Any) -> list[str]:
    answer = api.describe_cache_clusters(CacheClusterId="ansible-pages")
    endpoint = service_kit.place(answer["CacheClusters"][0]["ConfigurationEndpoint"])
    return iac_kit.discovered_nodes(endpoint)
