/**
 * What both launchers do in a sandbox's home directory by its own shell, as its own user: there nothing that an agent has laid
 * (a link, a folder in a file's place, a file in a folder's) keeps a session from being launched again, and nothing is done
 * for it that it could not do itself. Every script runs with the home directory as its working folder; paths are arguments.
 */

/**
 * `clear_way PATH` makes the folders above PATH and leaves at PATH a regular file or nothing. A link to a folder inside the home is
 * followed. Everything else that stands in the way, a link that leads out above all, is put aside under another name: it may
 * be somebody's work.
 */
const CLEAR_WAY = `
PATH=$PATH:/usr/bin:/bin
home=$(pwd -P)
put_aside() { if [ -e "$1" ] || [ -L "$1" ]; then mv -f -- "$1" "$1.replaced-$$"; fi; }
is_inside() { case "$(cd -- "$1" && pwd -P)/" in "$home"/*) return 0 ;; *) return 1 ;; esac; }
clear_way() {
  rest=$1 at=.
  while [ "$rest" != "\${rest#*/}" ]; do
    at=$at/\${rest%%/*} rest=\${rest#*/}
    if [ ! -d "$at" ] || ! is_inside "$at"; then put_aside "$at" && mkdir -- "$at" || return 1; fi
    if [ ! -w "$at" ] || [ ! -x "$at" ]; then chmod u+rwx -- "$at"; fi
  done
  at=$at/$rest
  if [ -L "$at" ] || [ ! -f "$at" ]; then put_aside "$at"; fi
}
`;

/** Clears the way for every argument. */
export const clearWayCommand = (paths: readonly string[]): readonly string[] => [
  "/bin/sh",
  "-c",
  `umask 077${CLEAR_WAY}for path in "$@"; do clear_way "$path" || exit 1; done`,
  "sh",
  ...paths,
];

/** Writes stdin to the path, readable by the sandbox's user only: the new file takes the old one's place in one step. */
export const writeFileCommand = (path: string): readonly string[] => [
  "/bin/sh",
  "-c",
  // A new name each time, made by us: at one that can be guessed a pipe may lie, on which a write would wait for ever.
  `umask 077${CLEAR_WAY}clear_way "$1" && new=$(mktemp "$at.XXXXXXXX") && cat >"$new" && mv -f -- "$new" "$at"`,
  "sh",
  path,
];

/** Exit status of {@link readFileCommand} for a path that leads out of the home directory, by a link. */
export const LEADS_OUT_STATUS = 4;

/** Writes the file to stdout. */
export const readFileCommand = (path: string): readonly string[] => [
  "/bin/sh",
  "-c",
  `PATH=$PATH:/usr/bin:/bin; home=$(pwd -P); target=$(readlink -f -- "$1") || exit 3; case "$target" in "$home"/*) ;; *) exit ${LEADS_OUT_STATUS} ;; esac; [ -f "$target" ] && exec cat -- "$target"; exit 3`,
  "sh",
  path,
];

/** Where {@link startCommand} notes its process, beside the log. */
const pidPathOf = (logPath: string): string => `${logPath}.pid`;

/** The command with its output appended to the log, in the same process, which is noted for {@link killCommand}. */
export const startCommand = (command: readonly string[], logPath: string): readonly string[] => [
  "/bin/sh",
  "-c",
  `(umask 077${CLEAR_WAY}clear_way "$1" && : >>"$1" && clear_way "$2" && echo $$ >"$2") || exit 126; exec >>"$1" 2>&1; shift 2; exec "$@"`,
  "sh",
  logPath,
  pidPathOf(logPath),
  ...command,
];

/** Kills what was started with this log, and what it has started in its process group. Succeeds also when it has ended. */
export const killCommand = (logPath: string): readonly string[] => [
  "/bin/sh",
  "-c",
  `PATH=$PATH:/usr/bin:/bin; pid=$(cat -- "$1" 2>/dev/null) && case "$pid" in "" | 0* | 1 | *[!0-9]*) ;; *) kill -9 -- "-$pid" 2>/dev/null; kill -9 "$pid" 2>/dev/null ;; esac; exit 0`,
  "sh",
  pidPathOf(logPath),
];
