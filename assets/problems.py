"""What can go wrong, in words for the person who has to mend it. Messages carry no secret and no e-mail address."""


class ConfigurationProblem(Exception):
    """Settings or policy are missing or wrong. Each line of the message names one setting and what to do about it."""


class PullProblem(Exception):
    """A CRM could not be pulled.

    source: "Salesforce" or "HubSpot"; what: what happened; remedy: what the person who runs Bindwatch does about it.
    """

    def __init__(self, source: str, what: str, remedy: str) -> None:
        self.source, self.what, self.remedy = source, what, remedy
        super().__init__(f"{source}: {what} {remedy}")


class WarehouseProblem(Exception):
    """The warehouse file cannot be opened: another process holds it, or a newer version of Bindwatch wrote it."""
