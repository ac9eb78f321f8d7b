#!/bin/sh
# Measures the TypeScript below the given folders: file lengths, comments, and how much test there is for each line of source.
#   sh scripts/metrics.sh apps packages
# A comment is a line that begins with // or lies in a /* */ block. Blank lines count towards a file's length only.
# What we aim for: median <= 110 lines, p90 <= 250, no file over 400, comment 12 to 20 %, 1.3 to 2.0 lines of test a line.
set -eu
[ $# -gt 0 ] || { echo "usage: sh scripts/metrics.sh FOLDER..." >&2; exit 2; }

find "$@" -type f -name '*.ts' ! -name '*.d.ts' \
  ! -path '*/node_modules/*' ! -path '*/dist/*' ! -path '*/generated/*' -print0 |
  xargs -0 awk '
    FNR == 1 { if (file != "") report(); file = FILENAME; lines = code = comments = inside = 0 }
    {
      lines++
      text = $0
      gsub(/^[ \t]+|[ \t\r]+$/, "", text)
      if (inside) { comments++; if (text ~ /\*\//) inside = 0 }
      else if (text == "") next
      else if (text ~ /^\/\//) comments++
      else if (text ~ /^\/\*/) { comments++; if (text !~ /\*\//) inside = 1 }
      else code++
    }
    END { report() }
    function report() { print lines + 0, code + 0, comments + 0, file }
  ' | sort -n | awk '
    $4 ~ /\/tests?\// || $4 ~ /\.test\.ts$/ { test_files++; test_code += $2; next }
    { length_of[++files] = $1; code += $2; comments += $3; longest = $4; if ($1 > 300) long_files++ }
    END {
      if (files == 0) { print "no source files"; exit 1 }
      median = files % 2 ? length_of[(files + 1) / 2] : (length_of[files / 2] + length_of[files / 2 + 1]) / 2
      printf "source files   %d, %d lines of code\n", files, code
      printf "file length    median %g, p90 %d, longest %d (%s)\n", median, length_of[int(files * 0.9 + 0.5)], length_of[files], longest
      printf "over 300 lines %.0f %%\n", 100 * long_files / files
      printf "comments       %.1f %%\n", 100 * comments / (comments + code)
      printf "tests          %d files, %.2f lines of code for each of source\n", test_files, test_code / code
    }
  '
