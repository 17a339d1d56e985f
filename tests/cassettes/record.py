"""Record cassettes from the sandbox: all of them (`make record`), or those named. Review the changes in the diff."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from connectors.connection import Connection
from sandbox.server import start
from sandbox.settings import Settings
from tests.cassettes.scenes import FOLDER, SCENES, cassette, play_scene
from tests.clock import FakeClock
from tests.conftest import EXAMPLE_ALERT


def main(names: Sequence[str]) -> None:
    for name in names or SCENES:
        (FOLDER / f"{name}.yaml").unlink(missing_ok=True)
        settings = Settings(messages=50, alert=EXAMPLE_ALERT, campaign_size=6, manual_clock=True)
        with start(settings) as sandbox, cassette(name, "all"):
            connection = Connection.checked(
                {"account_id": sandbox.account_id, "api_token": sandbox.token, "base_url": sandbox.base_url}
            )
            play_scene(SCENES[name], connection, FakeClock(moved=sandbox.state.advance))
        sys.stderr.write(f"{name}: recorded\n")


if __name__ == "__main__":
    main(sys.argv[1:])
