"""Write the NVFlare project file: the template with one client, of its own organisation, for each site."""

from pathlib import Path

from fedxray.core import cli
from fedxray.flare.kits import render_project


def main(options):
    """Render `options.template` for `options.sites`."""
    render_project(options.template, options.sites, options.output)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--template", type=Path, required=True, help="config/project.yml")
    arguments.add_argument("--sites", nargs="+", required=True, help="names of the sites")
    arguments.add_argument("--output", type=Path, required=True, help="project file to write")
    cli.run(main, arguments)
