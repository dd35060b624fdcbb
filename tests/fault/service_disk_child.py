"""What does the service do when its disk is full? Steps of test_service_create_failed.

Runs in a mount namespace of its own; the argument is a small file system of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests import service_kit as kit

_CHUNK_BYTES = 1 << 20


def fill(folder: Path) -> Path:
    """Use up all room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * _CHUNK_BYTES)
        except OSError:
            pass
    return filler


def stop_on_a_full_disk(service: kit.Up, folder: Path) -> None:
    """A primary that cannot save runs on, is named, and keeps its data."""
    group = kit.create_available(service.api, "full")
    with kit.connect(kit.primary_endpoint(group)) as client:
        for number in range(8):
            client.set(f"key:{number}", str(number) * _CHUNK_BYTES)
        before = service.engines()
        filler = fill(folder)
        assert service.stop() == 1
        assert "full-001 keeps running" in service.output, service.output
        assert service.engines() == before
        assert client.get("key:7") == "7" * _CHUNK_BYTES
    filler.unlink()
    service.start()
    kit.wait_status(service.api, "full", "available")
    assert service.engines() == before
    assert service.stop() == 0
    service.start()
    kit.wait_status(service.api, "full", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.get("key:7") == "7" * _CHUNK_BYTES
        assert client.dbsize() == 8
    kit.delete(service.api, "full")


def main(folder: Path) -> None:
    """Fill the disk while a group serves; look at it, at a create and at what comes after."""
    with kit.up(folder) as service:
        stop_on_a_full_disk(service, folder)
        group = kit.create_available(service.api, "witness", replicas=1)
        with kit.connect(kit.primary_endpoint(group)) as client:
            filler = fill(folder)
            assert client.set("greeting", "hello")
            refusal = ""
            try:
                kit.create(service.api, "late")
            except service.api.exceptions.ClientError as error:
                refusal = str(error)
            assert refusal or kit.status(service.api, "late") != "available"
            assert kit.status(service.api, "witness") == "available"
            os.truncate(filler, 40 * _CHUNK_BYTES)
            # Room for the store, not for an engine.
            if refusal:
                kit.create(service.api, "late")
            kit.wait_status(service.api, "late", "create-failed")
            told = kit.messages(service.api, "late")
            assert any("MiB free" in text for text in told), told
            filler.unlink()
            kit.delete(service.api, "late")
            kit.create_available(service.api, "late")
            assert client.get("greeting") == "hello"
        for name in ("late", "witness"):
            kit.delete(service.api, name)
        kit.assert_nothing_left(service.state_dir)
    sys.stdout.write(f"refused with {refusal!r}; overcome\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
