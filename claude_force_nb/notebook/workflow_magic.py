"""``%%workflow`` and ``%workflows``: parse, plan, run, show."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from ..errors import ClaudeForceError, InputError
from ..settings import MODES
from .options import parsed_words, refuse_secrets, shell_words, variable_name
from .session import Session
from .tables import show_table

if TYPE_CHECKING:
    from ..requests import Task
    from ..workflow import Plan, Workflow, WorkflowResult
    from .work import Work


@magics_class
class WorkflowMagics(Magics):
    """``%%workflow`` and ``%workflows``.

    Args:
        shell: The running ``InteractiveShell``.
        session: What the notebook works with.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @no_var_expand
    @magic_arguments()
    @argument(
        "graph",
        nargs="*",
        help="Arrows (a, b -> c), or the name of a workflow; without it the cell is YAML.",
    )
    @argument("-o", "--out", metavar="NAME", help="Bind the result to the variable NAME.")
    @argument("-m", "--model", help="Ask this model in every step.")
    @argument(
        "--max-tokens", type=int, metavar="N", help="Longest answer of every step, in tokens."
    )
    @argument("--timeout", type=float, metavar="S", help="Seconds each run may take.")
    @argument(
        "--cache", choices=MODES, metavar="MODE", help="auto, refresh, off, replay or strict."
    )
    @argument("--dry-run", action="store_true", help="Show what would be sent; send nothing.")
    @argument("--bg", action="store_true", help="Go on in the background; -o binds a handle.")
    @argument("-q", "--quiet", action="store_true", help="Show nothing until the end.")
    @argument("--allow-secrets", action="store_true", help="Insert values that look like keys.")
    @cell_magic
    def workflow(self, line: str, cell: str) -> Any:
        """Run a graph of agents: those that wait for nobody at once, the others in turn.

        Each step goes through the cache: run the cell again after a failure or an interrupt, and
        only what is missing is called.

        Examples::

            %%workflow code-reviewer, security-specialist -> document-writer -o report
            Review this module: {{ source }}

            %%workflow full-stack --dry-run
            Add a search field.

            %%workflow -o report
            steps:
              - id: facts
                agent: code-reviewer
                for_each: files
                task: What does this do? {{ item }}
              - id: page
                agent: document-writer
                when: len(steps.facts) > 100
                task: "Make one page of this: {{ steps.facts }}"
        """
        try:
            refuse_secrets(line)
            found = _parsed(line)
            out = variable_name(found.out)
            plan = self._plan(found, cell[:-1] if cell.endswith("\n") else cell)
        except ClaudeForceError as error:
            raise self.session.usage_error(error) from error
        if found.dry_run:
            return self.session.dispatch(lambda: self._forecast(plan, out))
        return self.session.dispatch(lambda: self._run(plan, found, out))

    @no_var_expand
    @line_magic
    def workflows(self, line: str) -> Any:
        """List the workflows of ``claude.json`` with their graphs."""
        from ..workflow.naming import named_workflow

        library = self.session.orchestrator.library
        known = set(library.names())
        rows: List[Tuple[str, str, str]] = []
        for name, agents in sorted(library.workflows().items()):
            try:
                workflow = named_workflow(name, agents)
            except ClaudeForceError as error:
                rows.append((name, "", str(error)))
            else:
                missing = sorted({step.agent for step in workflow.steps} - known)
                problem = f"There is no agent {', '.join(missing)}." if missing else ""
                rows.append((name, workflow.arrows, problem))
        if rows:
            show_table(("workflow", "steps", "problem"), rows)
        else:
            print('No workflows found. Name them in .claude/claude.json: {"workflows": {"NAME": '
                  '["AGENT", "AGENT"]}}')  # fmt: skip

    def _plan(self, found: Namespace, text: str) -> Plan:
        """Read the cell and check all of it; nothing is sent if anything is wrong."""
        from ..workflow import Overrides, Plan

        orchestrator, variables = self.session.orchestrator, self.session.shell.user_ns
        workflow, task = self._read(found, text)
        overrides = Overrides(
            model=found.model,
            max_tokens=found.max_tokens,
            mode=found.cache,
            timeout_s=found.timeout,
            allow_secrets=found.allow_secrets,
        )
        return Plan(orchestrator, workflow, task, variables, overrides)

    def _read(self, found: Namespace, text: str) -> Tuple[Workflow, Optional[Task]]:
        from ..prompt import render
        from ..workflow import Workflow, find_workflow

        graph = " ".join(found.graph)
        if not graph:
            # The cell's first line is the magic's own.
            return Workflow.from_yaml(text, source="this cell", first_line=2), None
        workflow = find_workflow(graph, self.session.orchestrator.library)
        if not text.strip():
            raise InputError("The cell is empty.", advice="Write the task in it.")
        variables = self.session.shell.user_ns
        return workflow, render(text, variables, allow_secrets=found.allow_secrets)

    async def _forecast(self, plan: Plan, out: Optional[str]) -> None:
        from IPython.display import display

        from ..workflow import forecast
        from .workflow_view import forecast_bundle

        found = forecast(plan)
        display(forecast_bundle(found), raw=True)
        if out is not None:
            self.session.shell.user_ns[out] = found

    async def _run(self, plan: Plan, found: Namespace, out: Optional[str]) -> None:
        """Run *plan*, show it, bind its result, and wait unless it is for the background.

        Raises:
            UsageError: A step failed; the others are shown and bound all the same.
            Interrupted: The user interrupted.
        """
        if found.bg:
            self.session.check_background()
        work = self._work(plan, found)
        if found.bg:
            self.session.go_on_in_background(work, out, self._raise_failures)
        else:
            result = await work.wait(lambda result: self.session.bind(out, result))
            self._raise_failures(result)

    def _work(self, plan: Plan, found: Namespace) -> Work:
        from ..workflow import Execution
        from .work import Work
        from .workflow_view import live_html, result_bundle

        execution = Execution(plan)
        work = Work(
            self.session.shell,
            plan.all_runs,
            outcome=lambda: execution.result,
            bundle=result_bundle,
            content=lambda: live_html(plan),
            told=lambda result: str(result.summary),
            quiet=found.quiet,
            background=found.bg,
        )
        work.start([(plan.all_runs, execution.run())])
        return work

    def _raise_failures(self, result: WorkflowResult) -> None:
        if result.success:
            return
        # One line for each step; a reason may go on, and the step shows all of it.
        lines = "\n".join(line.partition("\n")[0] for line in result.errors or ())
        raise self.session.usage_error(ClaudeForceError(lines)) from result.error


def _parsed(line: str) -> Namespace:
    """Parse the line; to the parser an arrow of ASCII characters would be an option."""
    return parsed_words(WorkflowMagics.workflow.parser, shell_words(line.replace("->", "→")))
