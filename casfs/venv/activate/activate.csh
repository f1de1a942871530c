# Use this environment in the csh or tcsh that is running:  source bin/activate.csh
# and leave it again:                                       deactivate
#
# The environment may be mounted anywhere, and in several places at once, so no place is written down here. csh does not say which file
# it is reading, but keeps it open: the shell below looks for it among the files that its parents have open.

alias deactivate 'test $?_OLD_VIRTUAL_PATH = 1 && setenv PATH "$_OLD_VIRTUAL_PATH"; unset _OLD_VIRTUAL_PATH; test $?_OLD_VIRTUAL_PYTHONHOME = 1 && setenv PYTHONHOME "$_OLD_VIRTUAL_PYTHONHOME"; unset _OLD_VIRTUAL_PYTHONHOME; test $?_OLD_VIRTUAL_PROMPT = 1 && set prompt = "$_OLD_VIRTUAL_PROMPT:q"; unset _OLD_VIRTUAL_PROMPT; unsetenv VIRTUAL_ENV; unsetenv VIRTUAL_ENV_PROMPT; rehash; test "\!:*" = nondestructive || unalias deactivate'

deactivate nondestructive

setenv _CASFS_FIND 'pid=$PPID; for level in 1 2 3; do for fd in /proc/$pid/fd/*; do file=$(readlink $fd); case $file in (*/bin/activate.csh) echo "${file%/bin/activate.csh}"; exit;; esac; done; while read -r name value; do case $name in (PPid:) pid=$value;; esac; done < /proc/$pid/status; done'
setenv VIRTUAL_ENV "`printenv _CASFS_FIND | sh`"
unsetenv _CASFS_FIND

if ( "$VIRTUAL_ENV" == "" ) then
    echo "activate.csh: this shell does not keep open what it reads; put the environment's bin in front of PATH instead"
    unsetenv VIRTUAL_ENV
    unalias deactivate
else
    setenv VIRTUAL_ENV_PROMPT "$VIRTUAL_ENV:t"

    set _OLD_VIRTUAL_PATH = "$PATH"
    setenv PATH "${VIRTUAL_ENV}/bin:${PATH}"

    if ( $?PYTHONHOME ) then
        set _OLD_VIRTUAL_PYTHONHOME = "$PYTHONHOME"
        unsetenv PYTHONHOME
    endif

    if ( ! $?VIRTUAL_ENV_DISABLE_PROMPT && $?prompt ) then
        set _OLD_VIRTUAL_PROMPT = "$prompt:q"
        # %, ! and a backslash would be expanded each time the prompt is shown.
        set prompt = "(`printenv VIRTUAL_ENV_PROMPT | tr -d '%\041\134'`) $prompt:q"
    endif

    rehash
endif
