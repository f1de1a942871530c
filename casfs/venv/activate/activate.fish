# Use this environment in the fish that is running:  source bin/activate.fish
# and leave it again:                                deactivate
#
# The environment may be mounted anywhere, and in several places at once, so no place is written down here: fish says which file it is
# reading.

function deactivate --description 'Leave the active Python environment'
    if set -q _OLD_VIRTUAL_PATH
        set -gx PATH $_OLD_VIRTUAL_PATH
        set -e _OLD_VIRTUAL_PATH
    end
    if set -q _OLD_VIRTUAL_PYTHONHOME
        set -gx PYTHONHOME $_OLD_VIRTUAL_PYTHONHOME
        set -e _OLD_VIRTUAL_PYTHONHOME
    end
    if set -q _OLD_FISH_PROMPT_OVERRIDE
        set -e _OLD_FISH_PROMPT_OVERRIDE
        if functions -q _old_fish_prompt
            functions -e fish_prompt
            functions -c _old_fish_prompt fish_prompt
            functions -e _old_fish_prompt
        end
    end
    set -e VIRTUAL_ENV
    set -e VIRTUAL_ENV_PROMPT
    # Called by the next environment to be activated, it stays, to be replaced.
    if test "$argv[1]" != nondestructive
        functions -e deactivate _casfs_status
    end
end

deactivate nondestructive

# The path as it was given, made absolute; a symlink to this file alone is followed.
set -l casfs_file (status filename)
if test -L $casfs_file
    set casfs_file (realpath $casfs_file)
else
    set casfs_file (realpath -s $casfs_file 2> /dev/null; or realpath $casfs_file)
end
set -l casfs_environment (string replace -r '/bin/[^/]*$' '' $casfs_file)
if not test -f $casfs_environment/pyvenv.cfg
    echo "activate.fish: fish does not say which file it is reading; source it by its path" >&2
    functions -e deactivate
    return 1
end
set -gx VIRTUAL_ENV $casfs_environment
set -gx VIRTUAL_ENV_PROMPT (string replace -r '^.*/' '' $VIRTUAL_ENV)

set -g _OLD_VIRTUAL_PATH $PATH
set -gx PATH $VIRTUAL_ENV/bin $PATH

if set -q PYTHONHOME
    set -g _OLD_VIRTUAL_PYTHONHOME $PYTHONHOME
    set -e PYTHONHOME
end

if test -z "$VIRTUAL_ENV_DISABLE_PROMPT"
    set -g _OLD_FISH_PROMPT_OVERRIDE $VIRTUAL_ENV

    function _casfs_status
        return $argv[1]
    end

    functions -c fish_prompt _old_fish_prompt
    function fish_prompt
        set -l last_status $status
        printf '(%s) ' $VIRTUAL_ENV_PROMPT
        _casfs_status $last_status # the prompt that follows may show it
        _old_fish_prompt
    end
end
