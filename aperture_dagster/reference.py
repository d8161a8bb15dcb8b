"""Write the table in ``docs/jobs.md`` from the jobs' declarations: ``python -m aperture_dagster.reference``."""

import dagster as dg

from aperture_dagster.build import all_jobs, build_groups
from aperture_dagster.jobs import Job
from aperture_dagster.model import in_words
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.home import project_root

BEGIN = "<!-- jobs: written by python -m aperture_dagster.reference -->"
END = "<!-- end of jobs -->"


def job_table(settings: Settings) -> str:
    """Return the jobs in Markdown, in the order in which a new installation runs them."""
    automated = {
        spec.key.to_user_string()
        for group in build_groups(settings)
        for asset in group.assets
        for spec in (asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,))
        if spec.automation_condition is not None
    }
    rows = ["| job | when | assets | what it does |", "|---|---|---|---|"]
    for job in all_jobs(settings):
        assets = ", ".join(f"`{asset}`" for asset in job.assets)
        rows.append(f"| `{job.name}` | {_when(job, automated)} | {assets} | {job.description} |")
    return "\n".join(rows)


def with_job_table(page: str, settings: Settings) -> str:
    """Replace what is between the two markers of a page; ValueError unless it contains both once, in this order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"The page must contain {BEGIN!r} and then {END!r}, once each.")
    return f"{before}{BEGIN}\n{job_table(settings)}\n{END}{after}"


def _when(job: Job, automated: set[str]) -> str:
    times = [] if job.cron is None else [in_words(job.cron)]
    if job.scope == "newcomers":
        times.append("when a user joins")
    if job.scope == "viewers":
        times.append("when something was watched or said")
    if automated.issuperset(job.assets):
        times.append("on upstream change")
    return ", ".join(times) or "by hand"


if __name__ == "__main__":
    target = project_root() / "docs" / "jobs.md"
    target.write_text(with_job_table(target.read_text(encoding="utf-8"), load_settings()), encoding="utf-8")
    print(f"wrote {target}")
