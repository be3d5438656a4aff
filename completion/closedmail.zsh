#compdef closedmail
# zsh completion for closedmail: click's own, which asks the command itself, and so knows every subcommand and option.

local type key text
local -a response plain described

response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _CLOSEDMAIL_COMPLETE=zsh_complete \
    ${words[1]} 2>/dev/null)}")

for type key text in "${response[@]}"; do
    case $type in
        plain)
            if [[ $text == _ ]]; then
                plain+=("$key")
            else
                described+=("$key:$text")
            fi
            ;;
        dir) _files -/ ;;
        file) _files ;;
    esac
done

if (( $#described )); then
    _describe -V closedmail described
fi
if (( $#plain )); then
    compadd -V closedmail -- "${plain[@]}"
fi
