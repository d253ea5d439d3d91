# SPDX-License-Identifier: Apache-2.0
"""The command line of `fwd bench`, and what becomes of it."""

import pytest

from fwd import runflags
from fwd.bench import arguments, machine, scenarios, wireguard
from fwd.bench.arguments import parse
from fwd.bench.contenders import BASELINE, KNOWN
from fwd.lab.topology import MAX_INDEX, NodeKind, NodeSpec, Spec, Wiring, node_specs, owns, plan


def test_both_presets_have_the_baseline_and_fwd() -> None:
    for argv in ([], ["--quick"]):
        names = [one.name for one in parse(argv).contenders]
        assert {"fwd", BASELINE, "routed"} <= set(names)


def test_quick_is_less_of_everything() -> None:
    full, quick = parse([]), parse(["-quick"])
    assert set(quick.scenarios) < set(full.scenarios)
    assert len(quick.contenders) < len(full.contenders)
    assert quick.rounds < full.rounds
    assert quick.time_limit < full.time_limit


def test_what_is_given_overrides_the_preset() -> None:
    options = parse(
        [
            *("--quick", "--rounds=7", "--contenders=kernel,proxy", "--scenarios", "udp,tcp4"),
            *("--udp-sizes=64,512", "--underlay=off", "--seconds=3", "--time-limit=9.5"),
            "--repeats=0",
        ]
    )
    assert (options.rounds, options.timing.tcp, options.time_limit) == (7, 3, 9.5)
    assert options.repeats == 0
    assert [one.name for one in options.contenders] == ["kernel", "proxy"]
    assert options.underlays == ("off",)
    chosen = scenarios.chosen(options.scenarios, udp_sizes=options.udp_sizes)
    assert [one.name for one in chosen] == ["udp64", "udp512", "tcp4"]


def test_a_size_is_measured_once() -> None:
    assert parse(["--udp-sizes=64,512,64"]).udp_sizes == (64, 512)


def test_nodes_masquerade_when_told_to() -> None:
    assert parse([]).wiring is Wiring.VETH
    assert parse(["--wiring=cni"]).wiring is Wiring.CNI


def test_variants_are_fwd_with_arguments() -> None:
    options = parse(["--contenders=fwd", "--run-arg=--log", "--variant=--a=1", "--sweep=workers"])
    assert {one.name: one.run_args for one in options.contenders} == {
        "fwd": ("--log",),
        "fwd --a=1": ("--log", "--a=1"),
        "fwd --workers=1": ("--log", "--workers=1"),
        "fwd --workers=2": ("--log", "--workers=2"),
        "fwd --workers=4": ("--log", "--workers=4"),
    }


def test_the_sweep_of_offloads_knows_all_that_the_agent_has() -> None:
    variants = parse(["--contenders=fwd", "--sweep=offloads"]).contenders[1:]
    assert [one.run_args for one in variants] == [
        (f"--disable-offload={name}",) for name in runflags.OFFLOADS
    ]


def test_the_longest_prefix_makes_labs_that_do_not_meet() -> None:
    prefix = "x" * arguments.MAX_PREFIX
    letters = [one.letter for one in KNOWN.values()] + ["v10"]
    assert len(set(letters)) == len(letters)
    for letter in letters:
        lab = plan(Spec(prefix=prefix + letter, nodes=node_specs(fwd=1, kernel=1)))
        others = {prefix + other for other in letters} - {prefix + letter}
        assert not any(owns(other, name) for other in others for name in lab.namespaces)


def test_wireguards_devices_do_not_meet_and_their_names_fit() -> None:
    letter = KNOWN["wireguard-go"].letter
    names = set()
    for prefix in ("x" * arguments.MAX_PREFIX, "fwdbench", "a", "a1"):
        nodes = (NodeSpec(1, NodeKind.BARE), NodeSpec(MAX_INDEX, NodeKind.BARE))
        lab = plan(Spec(prefix=prefix + letter, nodes=nodes))
        names |= {wireguard._device(lab, node) for node in lab.nodes}
    assert len(names) == 8
    assert max(map(len, names)) <= 15


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--rounds=0", "must be 1 or more"),
        ("--repeats=-1", "must be 0 or more"),
        ("--rounds=x", "'x' is no number"),
        ("--contenders=fwd,ovs", "'ovs' is none of fwd, kernel"),
        ("--scenarios=tcp2", "'tcp2' is none of"),
        ("--underlay=maybe", "'maybe' is none of on, uso, off"),
        ("--udp-sizes=8", "must be 16 or more"),
        ("--udp-sizes=70000", "must be 65507 or less"),
        ("--time-limit=nan", "must be 1 or more"),
        ("--prefix=a-b", "lower-case letters"),
        ("--prefix=elevenlette", "must be 1 to 10"),
        ("--nosuch", "unrecognized arguments"),
    ],
)
def test_wrong_words_are_refused(word: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse([word])
    assert refused.value.code == 2
    assert says in capsys.readouterr().err


def test_cpu_times_of_proc_stat() -> None:
    tick = machine.read_cpu_times("cpu  1 0 0 0 0 0 0 0 0 0").busy
    before = machine.read_cpu_times("cpu  10 20 30 400 50 6 7 8 0 0")
    after = machine.read_cpu_times("cpu  20 30 40 500 60 16 17 18 9 9")
    spent = after - before
    assert spent.busy == pytest.approx(50 * tick)
    assert spent.idle == pytest.approx(110 * tick)
    assert spent.stolen_share == pytest.approx(10 / 170)
    assert spent.busy_share == pytest.approx(50 / 170)
    assert (before - before).busy_share == 0.0
