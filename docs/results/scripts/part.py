"""Writes one experiment of a campaign file as a campaign of its own: part.py CAMPAIGN.yaml EXPERIMENT NAME > PART.yaml

Requests depend on the campaign's seed, the experiment and the repetition, so that a part runs what the whole would.
"""

import sys

import yaml


def main() -> None:
    path, experiment, name = sys.argv[1:]
    with open(path) as file:
        documents = list(yaml.safe_load_all(file))
    spec = documents[-1]["spec"]
    spec["experiments"] = [known for known in spec["experiments"] if known["name"] == experiment]
    if not spec["experiments"]:
        sys.exit(f"{path} has no experiment {experiment}")
    spec["headline"] = {"experiment": experiment}
    documents[-1]["metadata"] = {"name": name}
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
