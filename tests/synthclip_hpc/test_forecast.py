"""Forecasts from figures: the paper's A100-days, waves, lanes, time limits, phases whose size is known only later."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharding.plan import Plan
from slurm.profiles import Profile
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.config_files import apply_preset, to_table
from synthclip_hpc.foresight.chain import forecast_chain, forecast_link
from synthclip_hpc.foresight.forecast import CORE_WATTS, forecast
from synthclip_hpc.foresight.pace import START_UP_S, Pace
from synthclip_hpc.foresight.shape import Shape
from synthclip_hpc.foresight.words import amounts_table, between, costs_table, hours, size, span
from synthclip_hpc.launch.arrays import Target
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.monitor.devices import Devices
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission


def plan_of(num_items: int, shard_items: int, stage: str = "render", phase: str = "draw", kind: str = "map") -> Plan:
    return Plan(stage, phase, kind, num_items, shard_items, ".tar", {})  # type: ignore[arg-type]


def shape(elements: int, **changes) -> Shape:
    known = {"at_once": elements, "lanes": 1, "gpus": 0, "cores": 1, "devices": 1, "limit_s": None}
    return Shape(elements=elements, **(known | {"mean_delay_s": 0.0, "most_delay_s": 0.0} | changes))


def pace(seconds: float = 1.0, start_up: float = 0.0, device: str = "CPU") -> Pace:
    return Pace((seconds, 2 * seconds), (start_up, start_up), (10.0, 20.0), "the test", device)


def target(**resources) -> Target:
    return Target("slurm", Profile("test", resources), {}, {})


def test_the_paper_s_thirty_million_images_at_its_pace_take_its_313_a100_days(tmp_path):
    """Appendix F: 48 A100 for 6.5 days; section 4.1: 0.9 s an image."""
    config = apply_preset(RunConfig(), "synthci-30m")
    assert config.balance.target == 30_000_000
    link = Link(find_phase("render", "draw"), plan_of(config.balance.target, config.balance.shard_items))
    cluster = target(gpus_per_node=1, elements=48, time_min=1440)
    one = forecast_link(Run(tmp_path / "none"), link, config, cluster)
    assert one.pace.source.startswith("the paper: 0.9 s")
    assert (one.missing, one.shape.elements, one.shape.waves) == (30_000, 48, 1)
    assert one.gpu_hours[1] / 24 == pytest.approx(313, abs=1)
    # On its 48 GPUs: the paper says approximately 6.5 days.
    assert one.wall_s[1] / 86400 == pytest.approx(6.5, abs=0.05)
    assert one.kwh[1] == pytest.approx(313 * 24 * 0.4, rel=0.005)
    assert one.gpu_hours[0] / 24 == pytest.approx(30e6 * 0.2 / 86400, rel=0.01)


def test_items_are_shared_out_and_the_longest_element_decides():
    one = forecast("k", plan_of(95, 10), pace(), shape(4), range(10), 400)
    assert one.element_s == (95.0, 190.0)
    assert one.wall_s == (30.0, 60.0)  # 3 shards of 10 items
    assert [end * 3600 for end in one.core_hours] == [95, 190]
    assert one.kwh[0] == pytest.approx(95 / 3600 * CORE_WATTS / 1000)
    assert one.gpu_hours == (0.0, 0.0)
    assert one.size_bytes == (950.0, 1900.0)


def test_only_missing_shards_cost_and_the_last_one_is_smaller():
    one = forecast("k", plan_of(95, 10), pace(), shape(2), [0, 9], 400)
    assert (one.items_left, one.element_s[0], one.wall_s[0]) == ((15, 15), 15.0, 10.0)
    assert one.size_bytes[0] == 950
    nothing = forecast("k", plan_of(95, 10), pace(), shape(0), [], 400)
    assert (nothing.element_s, nothing.wall_s) == ((0, 0), (0, 0))


@pytest.mark.parametrize(("at_once", "waves"), [(10, 1), (5, 2), (4, 3), (1, 10)])
def test_a_throttle_makes_waves(at_once, waves):
    spread = shape(10, at_once=at_once)
    one = forecast("k", plan_of(100, 10), pace(), spread, range(10), 400)
    assert spread.waves == waves
    assert one.wall_s[1] == waves * 20.0
    assert one.wall_s[0] == max(10.0, 100 / at_once)


def test_every_element_starts_up_and_again_after_each_time_limit():
    one = forecast("k", plan_of(400, 10), pace(start_up=20), shape(2, limit_s=120.0), range(40), 400)
    # At the low end an element works 200 s, of which an attempt has 100.
    assert one.element_s[0] == 400 + 2 * 2 * 20
    assert one.wall_s[0] == 200 + 2 * 20
    assert one.wall_s[1] == 400 + 4 * 20
    assert forecast("k", plan_of(400, 10), pace(start_up=20), shape(2), range(40), 400).element_s[0] == 400 + 2 * 20


def test_lanes_work_side_by_side_and_hold_their_gpus_together():
    busy = forecast("k", plan_of(80, 10), pace(device="GPU"), shape(2, lanes=2, gpus=2), range(8), 500)
    assert busy.element_s[0] == 40.0
    assert busy.wall_s[0] == 20.0
    assert busy.gpu_hours[0] == pytest.approx(80 / 3600)
    assert busy.kwh[0] == pytest.approx(80 / 3600 * 0.5)
    assert busy.core_hours == (0.0, 0.0)
    # An odd shard leaves a lane of its element idle, and its GPU is held all the same.
    odd = forecast("k", plan_of(90, 10), pace(device="GPU"), shape(2, lanes=2, gpus=2), range(9), 500)
    assert (odd.element_s[0], odd.wall_s[0]) == (50.0, 30.0)


def test_a_gang_shares_the_published_pace_over_its_gpus(tmp_path):
    config = with_values(RunConfig(), {"balance.target": 3_380_000, "train.epochs": 10})
    link = Link(find_phase("train", "fit"), plan_of(10, 10, "train", "fit", "gang"))
    one = forecast_link(Run(tmp_path / "none"), link, config, target(nodes=4, gpus_per_node=4, time_min=6000))
    assert one.shape.gpus == one.shape.devices == 16
    assert one.gpu_hours[1] == pytest.approx(10 * 10_000 / 3600 + 16 * 120 / 3600)
    assert one.wall_s[1] == pytest.approx(10 * 10_000 / 16 + 120)


def test_what_a_job_holds_is_counted_and_not_only_what_it_uses(tmp_path):
    config = with_values(RunConfig(), {"captions.template.items_per_s": 10.0})
    link = Link(find_phase("captions", "write"), plan_of(36_000, 1000, "captions", "write"))
    one = forecast_link(Run(tmp_path / "none"), link, config, target(cpus=4, elements=6, throttle=3))
    assert (one.shape.elements, one.shape.at_once, one.shape.waves, one.shape.cores) == (6, 3, 2, 4)
    assert one.core_hours[0] == pytest.approx(4 * (1 + 6 * 1 / 3600))


def test_of_sizes_known_only_later_the_most_is_told_and_low_ends_are_nothing(tmp_path):
    config = with_values(RunConfig(), {"concepts.bank": "emoji", "captions.per_concept": 4, "balance.t": 3.0})
    later = ["balance/cut", "balance/coverage", "render/draw"]
    *_, drawn = found = forecast_chain(Run(tmp_path / "none"), [], config, None, later=later)
    assert [one.key for one in found] == later
    assert (drawn.plan.num_items, drawn.items_left) == (1784, (0, 1784))
    assert drawn.element_s[0] == drawn.wall_s[0] == drawn.size_bytes[0] == 0
    assert drawn.element_s[1] >= 1784 / 500
    assert "<=1,784" in amounts_table(found)[-1]
    assert "0s - " in costs_table(found)[-2]
    fewer = with_values(config, {"balance.t": None, "balance.target": 1000, "balance.allow_short": True})
    assert forecast_chain(Run(tmp_path / "none"), [], fewer, None, later=later)[0].plan.num_items == 1000


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0s"), (0.3, "<1s"), (59.4, "59s"), (61, "1m 01s"), (3600, "1h 00m"), (90_000, "1d 01h"), (3e7, "347d 05h")],
)
def test_time_spans_in_words(seconds, told):
    assert span(seconds) == told


def test_figures_in_words():
    assert [hours(number) for number in (0, 0.001, 0.5, 99.994, 7512.4)] == ["0", "<0.01", "0.50", "99.99", "7,512"]
    assert [size(number) for number in (0, 999, 1500, 2.5e9, 3e15)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3 PB"]
    assert between((1.0, 1.001), hours) == "1.00"
    assert between((1.0, 2.0), hours) == "1.00 - 2.00"


OWN = {"captions.engine": "my_engine:open_engine"}


@pytest.mark.parametrize(("asked", "device"), [({}, "CPU"), ({"gpus_per_node": 2}, "GPU"), ({"gres": "gpu:2"}, "GPU")])
def test_an_engine_of_the_user_s_uses_the_gpus_that_slurm_is_asked_for(tmp_path, asked, device):
    config = with_values(RunConfig(), OWN)
    link = Link(find_phase("captions", "write"), plan_of(36_000, 1000, "captions", "write"))
    one = forecast_link(Run(tmp_path / "none"), link, config, target(elements=1, cpus=4, time_min=6000, **asked))
    assert (one.pace.device, one.pace.source) == (
        device,
        "guessed: an engine of your own, which only a probe can measure",
    )
    assert (one.gpu_hours[1] > 0, one.core_hours[1] > 0) == (device == "GPU", device == "CPU")
    busy = one.gpu_hours[1] / 2 if device == "GPU" else one.core_hours[1] / 4
    assert busy == pytest.approx((36_000 / 6 + START_UP_S[device][1]) / 3600)


@pytest.mark.parametrize(("asked", "kind"), [(0, "CPU"), (2, "GPU"), (None, "GPU")])
def test_hours_are_those_of_gpus_only_where_slurm_was_asked_for_some(asked, kind):
    record = {"cluster": "slurm", "config": to_table(with_values(RunConfig(), OWN)), "asked": {"num_gpus": asked}}
    if asked is None:
        record["asked"] = {}  # a submission of an older version
    devices = Devices(find_phase("captions", "write"))
    devices.know([Submission(Path("00001-captions"), record)])
    assert (devices.kind, devices.of_attempts()) == (kind, {"00001-captions": 1})
