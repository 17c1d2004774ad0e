"""adcli doctor tells what is in force, where it comes from, and what means nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Adcli


def test_doctor_tells_every_setting_and_where_it_comes_from(adcli: Adcli, project: Path) -> None:
    project.write_text(
        "[defaults]\nmodel = '{part}.h5'\n\n[score]\nincoming = 'in'\nmaps = true\n[parts.lid]\nseed = 3\n"
    )
    env = {"ADCLI_MODEL": "m.h5", "ADCLI_MAPS": "", "ADCLI_PICTURES": None}
    facts = json.loads(adcli("doctor", "--json", env=env).out)
    assert facts["project"] == "adcli.toml"
    assert facts["faults"] == []
    told = {(row["option"], row["from"]): row for row in facts["settings"]}
    assert set(told) == {
        ("--model", "ADCLI_MODEL"),
        ("--model", "adcli.toml:2: defaults.model"),
        ("IMAGES", "adcli.toml:5: score.incoming"),
        ("--maps", "adcli.toml:6: score.maps"),
        ("--seed", "adcli.toml:8: parts.lid.seed"),
    }
    assert told["--model", "adcli.toml:2: defaults.model"]["overruled_by"] == "ADCLI_MODEL"
    assert told["--model", "ADCLI_MODEL"]["value"] == "m.h5"
    assert "score" in told["--model", "ADCLI_MODEL"]["of"].split(", ")
    assert told["IMAGES", "adcli.toml:5: score.incoming"] == {
        "option": "IMAGES",
        "value": ["in"],
        "of": "score",
        "from": "adcli.toml:5: score.incoming",
        "overruled_by": None,
    }
    assert told["--seed", "adcli.toml:8: parts.lid.seed"]["of"] == "lid: fit"
    shown = adcli("doctor", env=env).out
    assert "adcli.toml:8: parts.lid.seed" in shown


def test_doctor_tells_variables_that_mean_nothing(adcli: Adcli, here: Path) -> None:
    facts = json.loads(adcli("doctor", "--json", env={"ADCLI_MODLE": "x", "ADCLI_ZZZ": "y", "ADCLI_OUT": "o"}).out)
    assert facts["faults"] == [
        "ADCLI_MODLE is set and means nothing: did you mean ADCLI_MODEL?",
        "ADCLI_ZZZ is set and means nothing",
    ]
    assert facts["project"] is None


def test_doctor_tells_what_is_wrong_with_the_file(adcli: Adcli, project: Path) -> None:
    project.write_text("[score]\nmapps = true\n")
    told = adcli("doctor", "--json")
    assert told.code == 0
    assert json.loads(told.out)["faults"] == ["adcli.toml:2: [score] has no 'mapps': did you mean 'maps'?"]
    assert "did you mean 'maps'?" in adcli("doctor").out
