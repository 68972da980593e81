"""What can go wrong, in words for the person who has to mend it. Messages carry no secret and no e-mail address.

Each class says with which exit code a command ends that meets it; pipelines/ending.py is the one place that looks.
"""


class Problem(Exception):
    """Something that a person can understand and mend. exit_code: of the command that ends with it."""

    exit_code = 3


class ConfigurationProblem(Problem):
    """Settings or policy are missing or wrong. Each line of the message names one setting and what to do about it."""

    exit_code = 2


class PullProblem(Problem):
    """A CRM could not be pulled.

    source: "Salesforce" or "HubSpot"; what: what happened; remedy: what the person who runs Bindwatch does about it.
    """

    def __init__(self, source: str, what: str, remedy: str) -> None:
        self.source, self.what, self.remedy = source, what, remedy
        super().__init__(f"{source}: {what} {remedy}")


class WarehouseProblem(Problem):
    """The warehouse file cannot be opened: another process holds it, it is damaged, or a newer version of Bindwatch wrote it."""


class DamagedWarehouse(WarehouseProblem):
    """The warehouse file is damaged or gone. The message names the way back."""


class HomeInUse(WarehouseProblem):
    """Another run, or a backup or check, is going on in the home."""


class MachineProblem(Problem):
    """The machine cannot do what is asked of it: no room on a disk, no permission, no memory, no descriptors.

    exit_code: 2 where a setting mends it (another folder), else 3.
    """

    def __init__(self, text: str, exit_code: int = 3) -> None:
        self.exit_code = exit_code
        super().__init__(text)
