"""The definition of an action: metadata, parameters, a result, and a function from one JSON dict to another.

An action module defines `Params`, `Result`, `ACTION` and `run`. The manifest's entry, the command's flags and the
process protocol are generated from these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError

from actions.contract.plain_json import problem_in
from actions.contract.result_size import fit_result
from actions.contract.streams import record_error, record_result
from connectors.email_security import EmailSecurity
from connectors.objects.api_object import Uuid
from connectors.objects.end_of_life import EndedParameter, problems_and_warnings, without_ended
from core.errors import MISSING, InternalError, OutcomeUnknown, PackError, ParameterError, Problem
from core.json_model import JsonModel, StrictModel
from core.json_values import below, did_you_mean
from core.surrogates import replace_surrogates_in
from core.validation_text import plain_message
from remediation.guardrails.policy.gate import attach_policy

Effect = Literal["read", "write", "irreversible"]
Approval = Literal["not needed", "advised", "required"]
Permission = Literal["Cloud Email Security: Read", "Cloud Email Security: Write"]

READ: Permission = "Cloud Email Security: Read"
WRITE: Permission = "Cloud Email Security: Write"

# The message for a value of another type, by pydantic's name of the problem.
_TYPES = {
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
}

JobId = Annotated[Uuid, Field(description="The job's UUID.")]


class ActionParams(StrictModel):
    """The parameters of an action, or a part of them.

    An unknown parameter is refused, because a misspelled one would change the meaning. quoted: parameters that only
    quote mail or earlier results; in them, halves of surrogate pairs become U+FFFD, and numbers may have any size.
    """

    quoted: ClassVar[frozenset[str]] = frozenset()
    ended: ClassVar[Sequence[EndedParameter]] = ()

    @classmethod
    def missing(cls, given: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG003 -- for subclasses
        """Return the parameters that are required because of other given parameters."""
        return ()


class ActionResult(JsonModel):
    """The result of an action, or a part of it."""


class BoundedParams(ActionParams):
    """Parameters of an action whose result can have many entries."""

    max_result_bytes: int = Field(
        200_000,
        ge=20_000,
        le=50_000_000,
        description="The maximum size of the result as JSON. Its lists are cut to fit; see `truncated`.",
    )


class Cut(ActionResult):
    """The number of entries of a list that was cut."""

    kept: int = Field(description="The number of entries in the result.")
    total: int = Field(description="The number of all entries.")


class BoundedResult(ActionResult):
    """A result within `max_result_bytes`. Only lists are cut, so that its counts stay complete.

    cut_order: the lists, the least important first; each has its most important entries first. cut_whole: lists that
    become null if they do not fit.
    """

    cut_order: ClassVar[Sequence[str]] = ()
    cut_whole: ClassVar[frozenset[str]] = frozenset()

    truncated: dict[str, Cut] = Field(
        default_factory=dict,
        description="The lists that were cut to fit into `max_result_bytes`, with the numbers of kept and of all "
        "entries. Empty if nothing was cut.",
    )


P = TypeVar("P", bound=ActionParams)
R = TypeVar("R", bound=JsonModel)


@dataclass(frozen=True)
class Preview:
    """A read-only call that shows the effect of another call. Parameters that its action does not have are left out."""

    action: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Action(Generic[P, R]):
    """One action's metadata and its function.

    effect: the maximum impact. approval: whether a person should confirm first; required by default.
    verdict: returns the exit code of a result with `--exit-status`, if the action has the flag. Its docstring is the
    help of the flag. connection: whether the function takes the connector as its second argument.
    offline: returns whether these parameters need no connection; the connector may then be None.
    preview: returns the call that shows a person the effect of these parameters.
    resumable: a result with `done: false` has a `resume` object to continue with.
    repeatable: repeating a call whose outcome is unknown does no harm. Reads and calls with an idempotency key are.
    package: the package of its module.
    """

    id: str
    title: str
    params: type[P]
    result: type[R]
    effect: Effect
    permissions: Sequence[Permission]
    function: Callable[[P, EmailSecurity], R] | Callable[[P, EmailSecurity | None], R] | Callable[[P], R]
    example_params: Mapping[str, Any]
    example_result: Mapping[str, Any]
    approval: Approval = "required"
    verdict: Callable[[Mapping[str, Any]], int] | None = None
    connection: bool = True
    offline: Callable[[P], bool] | None = None
    preview: Callable[[P], Preview] | None = None
    resumable: bool = False
    repeatable: bool = False
    package: str = "actions"

    @property
    def module(self) -> str:
        """Return the module that `python -m` runs."""
        return f"{self.package}.{self.id.replace('-', '_')}"

    def check(self, params: Mapping[str, Any]) -> P:
        """Return the valid parameters. Raises: ParameterError with every problem and its JSON pointer."""
        if not isinstance(params, Mapping):
            raise ParameterError.at("", "the parameters must be one JSON object")
        problem = problem_in(dict(params), quoted=self.params.quoted)
        if problem is not None:
            raise ParameterError(problems=[problem])
        params = {
            name: replace_surrogates_in(value) if name in self.params.quoted else value
            for name, value in params.items()
        }
        params, _ = without_ended(params, self.params.ended)
        missing = [Problem(pointer=f"/{name}", message=MISSING) for name in self.params.missing(params)]
        try:
            checked = self.params.model_validate(params)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            raise ParameterError(problems=[_problem(self.params, one) for one in found] + missing) from None
        if missing:
            raise ParameterError(problems=missing)
        return checked

    def may_change(self, params: Mapping[str, Any]) -> bool:
        """Return whether a call with these parameters may change anything. A dry run never does."""
        field = self.params.model_fields.get("dry_run")
        is_dry_run = field is not None and params.get("dry_run", field.default) is True
        return self.effect != "read" and not is_dry_run

    def asks_first(self, params: Mapping[str, Any]) -> bool:
        """Return whether a person should confirm a call with these parameters."""
        return self.approval == "required" and self.may_change(params)

    def run(self, params: Mapping[str, Any], connector: EmailSecurity | None = None) -> dict[str, Any]:
        """Run the action: a JSON dict in, a JSON dict out. Raises: PackError, and nothing else.

        Without a connector, the action opens one from the environment, and closes it.
        """
        try:
            result = self._run(params, connector)
        except PackError as error:
            record_error(error)
            raise
        except Exception as error:
            defect = _defect(error, self.effect)
            record_error(defect)
            raise defect from error
        record_result(result, may_change=self.may_change(params))
        return result

    def _run(self, params: Mapping[str, Any], connector: EmailSecurity | None) -> dict[str, Any]:
        checked = self.check(params)
        _, ended = without_ended(params, self.params.ended)
        unneeded = not self.connection or (self.offline is not None and self.offline(checked))
        if connector is not None or unneeded:
            return self._call(checked, connector, ended)
        with EmailSecurity.from_environment() as own:
            return self._call(checked, own, ended)

    def _call(self, params: P, connector: EmailSecurity | None, ended: Sequence[EndedParameter]) -> dict[str, Any]:
        if connector is not None and connector.has_policy:
            attach_policy(connector)
        warnings = _warnings_of_ended(ended, connector)
        arguments = (params, connector) if self.connection else (params,)
        result: R = self.function(*arguments)
        document = result.model_dump(mode="json", by_alias=True)
        if warnings:
            document["warnings"] = [*warnings, *document["warnings"]]
        if isinstance(params, BoundedParams) and isinstance(result, BoundedResult):
            fit_result(document, params.max_result_bytes, result.cut_order, result.cut_whole)
        return document


def _warnings_of_ended(ended: Sequence[EndedParameter], connector: EmailSecurity | None) -> list[str]:
    """Return the warnings about deprecated parameters. Raises: ParameterError for one that was removed."""
    if not ended or connector is None:
        return []
    problems, warnings = problems_and_warnings(ended, connector.clock.now())
    if problems:
        raise ParameterError(problems=problems)
    return warnings


def _defect(error: Exception, effect: Effect) -> InternalError:
    defect = InternalError.of(error)
    if effect == "read":
        defect.applied = "no"
        defect.help = "Nothing was changed. This is a defect of the pack: report it with this message."
    else:
        defect.exit_code = OutcomeUnknown.exit_code
    return defect


def _problem(params: type[BaseModel], found: Any) -> Problem:
    location = found["loc"]
    pointer = below("", *location)
    message = plain_message(found)
    match found["type"]:
        case "extra_forbidden":
            message = f"unknown parameter{_suggestion(params, location)}"
        case "string_too_short":
            message = "is empty" if found["ctx"]["min_length"] == 1 else message
        case kind:
            message = _TYPES.get(kind, message)
    return Problem(pointer=pointer, message=message)


def _suggestion(params: type[BaseModel], location: Sequence[Any]) -> str:
    model: Any = params
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        model = _model_in(fields[part].annotation) if part in fields else None
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    return did_you_mean(str(location[-1]), known, or_list=True)


def _model_in(annotation: Any) -> Any:
    """Return the model of a field, or None if it has another type."""
    parts = get_args(annotation) or (annotation,)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
