#include "tests/unit/manager/ctl.h"

#include <stdio.h>
#include <sys/wait.h>

#include "common/base/text.h"

char ctl_output[1 << 16];

int ctl_run(const char *command)
{
	char line[4096];
	(void)text_format(line, sizeof line, "ctl() { %s \"$@\"; }; { %s; } 2>&1", ANANTACTL, command);
	FILE *pipe = popen(line, "r");
	ck_assert_ptr_nonnull(pipe);
	size_t n = fread(ctl_output, 1, sizeof ctl_output - 1, pipe);
	ctl_output[n] = '\0';
	int status = pclose(pipe);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}
