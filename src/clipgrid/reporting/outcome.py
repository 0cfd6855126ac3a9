"""What came out of a study, in the few lines that end its run."""

from pathlib import Path

from clipgrid.judging.verdicts import read_claims
from clipgrid.reporting.verdicts import counts
from clipgrid.study.config import Study


def told(study: Study) -> list[str]:
    """A line for each group of claims; none where nothing is judged."""
    folder = Path(study.results)
    if not study.claims or not (folder / "claims.csv").exists():
        return []
    claims = read_claims(folder)
    external, tested = claims.section == "external", claims.decided_by == "test"
    groups = {
        "statements that were tested": claims[~external & tested],
        "statements that need no test": claims[~external & ~tested],
        "published facts": claims[external],
    }
    return [f"{len(group)} {what}: {counts(group)}" for what, group in groups.items() if len(group)]
