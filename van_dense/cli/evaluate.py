"""Evaluate a trained run, published weights, or predictions that any program saved.

van-dense eval runs/maskrcnn_van_b2 [--checkpoint best] [key.path=value ...]
van-dense eval runs/saliency_van_b1 --data ecssd
torchrun --nproc-per-node 8 -m van_dense eval runs/maskrcnn_van_b2 --resume
van-dense eval --config classify_van_b2_in1k model.backbone.weights=van_b2_in1k
van-dense eval --predictions results.json --annotations gt.json --type bbox|segm|keypoints
van-dense eval --predictions results.json --annotations lvis.json --type bbox|segm --federated
van-dense eval --predictions results.json --annotations gt.json --type segm --boundary
van-dense eval --predictions results.json --config PROJECT [--type bbox] [key.path=value ...]
van-dense eval --predictions maps/ --annotations masks/ --type semantic --data ade20k
van-dense eval --predictions predictions.json --annotations panoptic_val.json --type panoptic
    [--masks pngs/] [--boundary]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.core.writing import writing
from van_dense.data.io.outputs import require_folder

if TYPE_CHECKING:
    from van_dense.evaluation.saved import Scores

COCO_TYPES, MAP_TYPES = ("bbox", "segm", "keypoints"), ("semantic", "saliency")
PANOPTIC = "panoptic"
TYPES = (*COCO_TYPES, *MAP_TYPES, PANOPTIC)
DATA_OPTIONS = ("quarantine", "crowds", "label_map", "prediction_pattern", "mask_pattern")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print tables and write JSON."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    if arguments.config and arguments.run:  # it has no RUN, so the first override stands there
        arguments.run, arguments.overrides = None, [arguments.run, *arguments.overrides]
    check_combination(parser, arguments)
    with writing(arguments.output or "the output beside what is evaluated", keep=True):
        path = evaluate_saved(arguments) if arguments.predictions else evaluate_model(arguments)
    if path is not None:
        from van_dense.evaluation.table import format_metrics, format_per_class, load_metrics

        metrics, per_class = load_metrics(path)
        tables = (format_metrics(metrics), format_per_class(per_class))
        say(*filter(None, tables), f"metrics: {path}", sep="\n")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("eval", __doc__)
    model = parser.add_argument_group("a trained run, or the weights that a project names")
    model.add_argument("run", nargs="?", metavar="RUN", help="run folder or checkpoint file")
    model.add_argument("overrides", nargs="*", metavar="key.path=value", help="change its config")
    model.add_argument("--checkpoint", default="best", help="best (default), last, or a file")
    project = "project of a classifier, whose weights are evaluated; with --predictions: project "
    project += "or config.yaml of a run, whose validation part, in any format, is the truth"
    model.add_argument("--config", metavar="PROJECT", help=project)
    again = "keep predictions in the output folder until all are there, and go on from those of an "
    again += "evaluation that was ended before; under torchrun on a disk that all processes see"
    model.add_argument("--resume", action="store_true", help=again)
    saved = parser.add_argument_group("saved predictions")
    results = "COCO results: a list of records, or a panoptic JSON beside its PNGs; folder of maps"
    saved.add_argument("--predictions", help=results)
    saved.add_argument("--annotations", help="COCO annotation file, or folder of masks")
    pngs = "panoptic: folder of the PNGs of --annotations (default: that of its name beside it)"
    saved.add_argument("--masks", metavar="DIR", help=pngs)
    saved.add_argument("--type", choices=TYPES, help="what to measure")
    saved.add_argument("--backend", help="hotcoco (default), or pycocotools: same numbers")
    limit = "detections of an image and class that AP counts (default 100, keypoints 20)"
    saved.add_argument("--max-detections", type=int, metavar="N", help=limit)
    add_rules(saved)
    add_data_options(saved)
    data = "YAML file, or packaged name: other data for a run; label map or skeleton for files"
    parser.add_argument("--data", action="append", default=[], metavar="FRAGMENT", help=data)
    output = "folder (default eval/<checkpoint> in the run), or JSON (default metrics_<type>.json)"
    parser.add_argument("--output", help=output)
    return parser


def add_data_options(group: argparse._ArgumentGroup) -> None:
    """Add what the section ``data`` of a config says by the same names."""
    bad = "quarantine list of van-dense check: bad images and annotations to leave out"
    group.add_argument("--quarantine", metavar="FILE", help=bad)
    crowds = "what iscrowd 1 means: regions of many objects (default), or objects as any other"
    group.add_argument("--crowds", choices=("regions", "objects"), help=crowds)
    group.add_argument("--label-map", nargs="+", metavar="LINE", help="such as '1..9 -> 0..8'")
    group.add_argument("--prediction-pattern", help="names of maps, such as {key}_labels.png")
    group.add_argument("--mask-pattern", help="names of masks")


def add_rules(group: argparse._ArgumentGroup) -> None:
    """Add the options that choose by which rules saved predictions count."""
    rules = "rules of LVIS: 300 detections of an image, and what nobody looked for is ignored"
    group.add_argument("--federated", action="store_true", default=None, help=rules)
    outlines = "panoptic: boundary PQ as well; segm: boundary AP"
    group.add_argument("--boundary", action="store_true", default=None, help=outlines)


def check_rules(
    parser: argparse.ArgumentParser, given: argparse.Namespace, *, by_config: bool = False
) -> None:
    """Exit with 2 where rules do not fit to a type; ``by_config`` is where a config names types."""
    of_masks = given.type == "segm" or (by_config and not given.type)
    if given.boundary and given.type != PANOPTIC and not of_masks:
        parser.error("--boundary belongs to --type panoptic or segm; a run has eval.boundary=true")
    if given.boundary and given.federated:
        parser.error("--boundary is COCO's AP of outlines; leave out --federated")
    if given.federated and given.type not in ("bbox", "segm") and not by_config:
        parser.error("--federated belongs to --type bbox or segm; a run has eval.federated=true")
    if given.federated and given.max_detections is not None:
        parser.error("--federated counts the best 300 of an image; leave out --max-detections")


def check_combination(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Exit with 2 where arguments do not fit together."""
    by_config = bool(given.config and given.predictions and not given.annotations)
    if sum(map(bool, (given.run, given.config, given.predictions))) != 1 and not by_config:
        parser.error("give either a run folder, or --predictions, or --config")
    if by_config and given.type and given.type not in COCO_TYPES:
        parser.error(f"--predictions with --config takes one of --type {', '.join(COCO_TYPES)}")
    if given.predictions and not (given.annotations and given.type) and not by_config:
        parser.error("--predictions needs --annotations and --type, or --config")
    if given.resume and given.predictions:
        parser.error("--resume belongs to a run; saved predictions are scored at once")
    if given.data and given.config:
        parser.error("--data belongs to a run, or to saved predictions but panoptic ones")
    check_options(parser, given, by_config=by_config)


def check_options(
    parser: argparse.ArgumentParser, given: argparse.Namespace, *, by_config: bool = False
) -> None:
    """Exit with 2 where options of saved predictions do not fit to their type.

    Args:
        parser: Parser of the command.
        given: Arguments of the command.
        by_config: Whether a config names the types.
    """
    for_maps = given.label_map or given.prediction_pattern or given.mask_pattern
    if for_maps and given.type not in MAP_TYPES:
        parser.error("--label-map and the patterns belong to --type semantic or saliency")
    check_rules(parser, given, by_config=by_config)
    if given.masks and given.type != PANOPTIC:
        parser.error("--masks belongs to --type panoptic; masks of other types are --annotations")
    if given.data and given.type == PANOPTIC:
        parser.error("--data belongs to a run, or to saved predictions but panoptic ones")
    for name in ("max_detections", "quarantine", "crowds"):
        if getattr(given, name) is not None and given.type not in COCO_TYPES and not by_config:
            key = {"max_detections": "eval"}.get(name, "data") + f".{name}=..."
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} belongs to --type {', '.join(COCO_TYPES)}; a run has {key}")
    if given.max_detections is not None and given.max_detections < 1:
        parser.error("--max-detections takes a number from 1 on")
    if given.label_map and given.type == "saliency":
        parser.error("--label-map belongs to --type semantic; saliency masks are white on black")


def evaluate_model(arguments: argparse.Namespace) -> Path | None:
    """Evaluate a network; None on all processes of ``torchrun`` but the first."""
    from van_dense.config import ConfigError, load_config
    from van_dense.config.files import missing_data

    wait_passively()
    overrides, output = arguments.overrides, arguments.output
    if arguments.config:
        config = load_config(arguments.config, overrides)
        if missing := missing_data(config):
            raise ConfigError(missing)
    else:
        config = None
        check_changes(Path(arguments.run) / "config.yaml", fragments(arguments), overrides)
    if output:
        require_folder(Path(output))
    from van_dense import api  # only now torch: a mistake above is reported at once

    if config is not None:
        folder = Path(output or f"runs/{Path(arguments.config).stem}/eval/weights")
        metrics = api.evaluate_weights(config, output=folder, resume=arguments.resume)
    else:
        run, which = Path(arguments.run), arguments.checkpoint
        name = run.stem if run.is_file() else Path(which).stem
        folder = Path(output or (run if run.is_dir() else run.parent) / "eval" / name)
        changes = {"fragments": fragments(arguments), "overrides": overrides}
        changes["resume"] = arguments.resume
        metrics = api.evaluate_run(run, checkpoint=which, output=folder, **changes)
    return folder / "metrics.json" if metrics else None


def check_changes(stored: Path, data: list[Path], overrides: list[str]) -> None:
    """Find a mistake in what is laid over the config of a run; its checkpoint is read later."""
    from van_dense.config.load import COMMAND_LINE, RawConfig, validate

    if stored.is_file():  # not beside a checkpoint that was moved
        raw = RawConfig()
        for file in (stored, *data):
            raw.merge_file(file)
        raw.override(overrides)
        if "engine" in raw.values.get("model", {}):  # Detectron2 may be missing here
            raw.merge({"model": {"engine": "torchvision"}}, COMMAND_LINE)
        validate(raw)


def fragments(arguments: argparse.Namespace) -> list[Path]:
    """The files of --data."""
    from van_dense.config import presets

    return [presets.find(name, presets.DATA) for name in arguments.data]


def data_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Section ``data`` of the files of --data, and over it what the options say."""
    given = {key: getattr(arguments, key) for key in DATA_OPTIONS}
    said = {key: value for key, value in given.items() if value is not None}
    if not arguments.data:  # the schema takes a tenth of a second
        return said
    from van_dense.config.load import RawConfig

    raw = RawConfig()
    for fragment in fragments(arguments):
        raw.merge_file(fragment)
    return {**raw.values.get("data", {}), **said}


def evaluate_by_config(arguments: argparse.Namespace) -> Path:
    """Compare COCO results with the validation part of a config."""
    from van_dense.config import ConfigError, load_config
    from van_dense.config.files import missing_data

    overrides = list(arguments.overrides)
    names = ("backend", "max_detections", "federated", "boundary")
    keys = dict.fromkeys(names, "eval") | {"quarantine": "data", "crowds": "data"}
    for name, section in keys.items():
        if (value := getattr(arguments, name)) is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            overrides.append(f"{section}.{name}={text}")
    config = load_config(arguments.config, overrides)
    if missing := missing_data(config):
        raise ConfigError(missing)
    if arguments.crowds and getattr(config.data, "format", "coco") != "coco":
        raise ConfigError("--crowds is of COCO files alone; other formats have no iscrowd")
    from van_dense.evaluation.table import save_metrics
    from van_dense.runs.saved import score_by_config

    found, kind = arguments.predictions, arguments.type
    scores = score_by_config(found, config, kind)
    _say_words(scores)
    path = _file_of_metrics(arguments)
    save_metrics(path, scores.metrics, scores.per_class)
    return path


def evaluate_saved(arguments: argparse.Namespace) -> Path:
    """Compare COCO results, a folder of maps, or panoptic PNGs with annotations."""
    if arguments.config:
        return evaluate_by_config(arguments)
    from van_dense.evaluation.coco_engines import BACKENDS
    from van_dense.evaluation.saved import score
    from van_dense.evaluation.table import save_metrics

    found, truth, kind = arguments.predictions, arguments.annotations, arguments.type
    data = data_of(arguments)
    path = _file_of_metrics(arguments)
    backend = arguments.backend or BACKENDS[0]
    settings = {"backend": backend, "masks": arguments.masks}
    settings |= {"max_detections": arguments.max_detections}
    settings |= {key: bool(getattr(arguments, key)) for key in ("boundary", "federated")}
    scores = score(found, truth, kind=kind, data=data, folder=path.parent, **settings)
    _say_words(scores)
    save_metrics(path, scores.metrics, scores.per_class)
    return path


def _file_of_metrics(arguments: argparse.Namespace) -> Path:
    """Where the metrics of saved predictions go: --output, or beside the predictions.

    Never metrics.json, which is that of the run itself where the predictions are its own.
    """
    name = f"metrics_{arguments.type or 'all'}.json"
    if arguments.output is None:
        return Path(arguments.predictions).absolute().with_name(name)
    path = Path(arguments.output)
    return path / name if path.is_dir() else path


def _say_words(scores: "Scores") -> None:
    for word, sentences in (("warning", scores.warnings), ("note", scores.remarks)):
        for sentence in sentences:
            say(f"{word}: {sentence}")
    say(scores.summary)
