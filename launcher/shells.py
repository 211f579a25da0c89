"""Completion scripts for bash, zsh and fish, of what a command line understands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """``flags`` such as --json; ``choices`` of its value, where it ``takes`` one."""

    flags: tuple[str, ...]
    help: str
    takes: bool
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A command; the one without a name is what stands before any. ``choices``: of its argument."""

    name: str
    help: str
    options: tuple[Option, ...]
    choices: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        return [flag for one in self.options for flag in one.flags]


# ── bash ────────────────────────────────────────────────────────────────────────────────────

BASH = r"""# Completes run.py, and `python run.py`, in bash. Made by: python run.py completion bash
_relay_complete() {  # $1: where run.py stands in the line
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i
    COMPREPLY=()
    for ((i = $1 + 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            @NAMES@) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command:$prev in
@VALUES@
    esac
    case $command:$cur in
@WORDS@
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
_relay_run_py() { _relay_complete 0; }
_relay_python() {
    if [[ ${COMP_WORDS[1]##*/} == run.py && $COMP_CWORD -gt 1 ]]; then
        _relay_complete 1
    elif [[ -n ${_relay_before-} ]]; then
        "$_relay_before" "$@"
    fi
}
if declare -F _comp_load >/dev/null; then _comp_load python
elif declare -F _completion_loader >/dev/null; then _completion_loader python
fi
_relay_found=$(complete -p python 2>/dev/null) || _relay_found=
case $_relay_found in
    *_relay_python*) ;;  # loaded once more: what was before is known
    *" -F "*) _relay_before=${_relay_found##* -F }; _relay_before=${_relay_before%% *} ;;
    *) _relay_before= ;;
esac
complete -o bashdefault -o default -F _relay_run_py run.py ./run.py
complete -o bashdefault -o default -F _relay_python python python3"""


def bash(known: Sequence[Known]) -> str:
    values = [line for one in known for line in _bash_values(one)]
    words = [line for one in known for line in _bash_words(one, known)]
    return _filled(BASH, known, values, words)


def _bash_values(one: Known) -> Iterator[str]:
    """After an option with a value: its choices, or files."""
    for option in one.options:
        if option.takes and option.choices:
            reply = f"COMPREPLY=($(compgen -W '{' '.join(option.choices)}' -- \"$cur\"))"
            yield f"        {_after(one, option.flags)}) {reply}; return ;;"
    if others := [flag for o in one.options if o.takes and not o.choices for flag in o.flags]:
        yield f"        {_after(one, others)}) return ;;"


def _after(one: Known, flags: Sequence[str]) -> str:
    return "|".join(f"{one.name}:{flag}" for flag in flags)


def _bash_words(one: Known, known: Sequence[Known]) -> Iterator[str]:
    """Options after a dash; else commands, choices, or files."""
    names = one.choices if one.name else tuple(other.name for other in known if other.name)
    yield f"        {one.name}:-*) words='{' '.join(one.flags)}' ;;"
    if names:
        yield f"        {one.name}:*) words='{' '.join(names)}' ;;"


# ── zsh ─────────────────────────────────────────────────────────────────────────────────────

ZSH = r"""#compdef run.py
# Completes run.py, and `python run.py`, in zsh. Made by: python run.py completion zsh
_relay_complete() {  # $1: where run.py stands in the line
    local command= cur=$words[CURRENT] prev=$words[CURRENT-1]
    local -a options names
    integer i
    for ((i = $1 + 1; i < CURRENT; i++)); do
        case $words[i] in
            (@NAMES@) command=$words[i]; break ;;
        esac
    done
    case $command:$prev in
@VALUES@
    esac
    case $command in
@WORDS@
    esac
    if [[ $cur == -* ]]; then
        _describe -o option options
    elif (( $#names )); then
        _describe argument names
    else
        _files
    fi
}
_relay_run_py() { _relay_complete 1 }
_relay_python() {
    if [[ ${words[2]:t} == run.py ]] && (( CURRENT > 2 )); then
        _relay_complete 2
    elif (( $+functions[_python] )); then
        _python
    else
        _files
    fi
}
compdef _relay_run_py run.py
compdef _relay_python python python3"""


def zsh(known: Sequence[Known]) -> str:
    values = [line for one in known for line in _zsh_values(one)]
    words = [line for one in known for line in _zsh_words(one, known)]
    return _filled(ZSH, known, values, words)


def _zsh_values(one: Known) -> Iterator[str]:
    for option in one.options:
        if option.takes:
            action = f"compadd -- {' '.join(option.choices)}" if option.choices else "_files"
            yield f"        ({_after(one, option.flags)}) {action}; return ;;"


def _zsh_words(one: Known, known: Sequence[Known]) -> Iterator[str]:
    options = [_described(flag, option.help) for option in one.options for flag in option.flags]
    if one.name:
        names = [_quoted(choice) for choice in one.choices]
    else:
        names = [_described(other.name, other.help) for other in known if other.name]
    pattern = one.name or "''"
    yield f"        ({pattern}) options=({' '.join(options)}); names=({' '.join(names)}) ;;"


def _described(word: str, words: str) -> str:
    """A colon parts a word from what is said of it."""
    return _quoted(f"{word}:{words}" if words else word)


# ── fish ────────────────────────────────────────────────────────────────────────────────────

FISH = r"""# Completes run.py, and `python run.py`, in fish. Made by: python run.py completion fish
function __relay_at  # whether the line is of run.py, and at this command
    set -l words (commandline -opc)
    if string match -qr '(^|/)python3?$' -- $words[1]
        set -e words[1]
    end
    string match -qr '(^|/)run\.py$' -- "$words[1]"; or return 1
    set -e words[1]
    for word in $words
        if contains -- $word @NAMES@
            test "$argv[1]" = $word
            return
        end
    end
    test -z "$argv[1]"
end
@WORDS@"""


def fish(known: Sequence[Known]) -> str:
    words = [line for one in known for line in _fish_words(one, known)]
    return _filled(FISH, known, [], words, between=" ")


def _fish_words(one: Known, known: Sequence[Known]) -> Iterator[str]:
    start = (
        f"complete -c run.py -c python -c python3 -n {_quoted(f'__relay_at {one.name}'.strip())}"
    )
    if not one.name:
        for other in known:
            if other.name:
                yield f"{start} -f -a {other.name} -d {_fish_quoted(other.help)}"
    for choice in one.choices:
        yield f"{start} -f -a {choice}"
    for option in one.options:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
        )
        value = f" -x -a {_fish_quoted(' '.join(option.choices))}" if option.choices else " -r"
        yield f"{start} {flags}{value if option.takes else ''} -d {_fish_quoted(option.help)}"


# ── Each ────────────────────────────────────────────────────────────────────────────────────


def _filled(
    script: str,
    known: Sequence[Known],
    values: Sequence[str],
    words: Sequence[str],
    between: str = "|",
) -> str:
    names = between.join(one.name for one in known if one.name)
    filled = script.replace("@NAMES@", names).replace("@VALUES@", "\n".join(values))
    return filled.replace("@WORDS@", "\n".join(words))


def _quoted(text: str) -> str:
    quoted = text.replace("'", r"'\''")
    return f"'{quoted}'"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"


SCRIPTS: Mapping[str, Callable[[Sequence[Known]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
