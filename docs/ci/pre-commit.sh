#!/bin/sh
# Looks at the migrations that the commit changes. Exit code 10, and no commit, on findings that matter.
git diff --cached --name-only --diff-filter=ACMR -- '*.sql' | crossfade lint --files-from - --fail-on "${CROSSFADE_LINT_FAIL_ON:-error}"
