# bash completion for closedmail: click's own, which asks the command itself, and so knows every subcommand and option.

_closedmail() {
    local line type value
    COMPREPLY=()
    while IFS= read -r line; do
        type=${line%%,*} value=${line#*,}
        case $type in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done < <(
        IFS=$'\n'
        COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _CLOSEDMAIL_COMPLETE=bash_complete "$1" 2>/dev/null
    )
}

complete -o nosort -F _closedmail closedmail
