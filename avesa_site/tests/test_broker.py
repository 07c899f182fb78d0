"""The file-system broker: messages are written atomically."""

from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection

from avesa_site import broker


@pytest.fixture
def channel(tmp_path):
    folder = tmp_path / "messages"
    folder.mkdir()
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(tmp_path / "control"),
    }
    with Connection("filesystem://localhost", transport_options=options) as connection:
        yield connection.default_channel


def test_celery_uses_it(channel):
    assert isinstance(channel, broker.Channel)


def test_messages_come_in_order_and_once(channel):
    for number in range(3):
        channel._put("loads", {"body": str(number)})
    channel._put("upkeep", {"body": "another queue"})
    assert [channel._get("loads")["body"] for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(Empty):
        channel._get("loads")


def test_a_message_is_invisible_until_it_is_written(channel, monkeypatch):
    write = Path.write_text

    def write_while_another_reads(path, text):
        path.touch()
        with pytest.raises(Empty):
            channel._get("loads")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", write_while_another_reads)
    channel._put("loads", {"body": "whole"})
    assert channel._get("loads")["body"] == "whole"
