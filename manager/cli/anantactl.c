// anantactl: the operator's command line.
#include <signal.h>
#include <stdio.h>

#include "common/io/log.h"
#include "manager/cli/command.h"

int main(int argc, char **argv)
{
	struct options options;
	struct error err = { 0 };
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_ERROR); // what goes wrong is said in one sentence at the end
	if (options_parse(argc, argv, &options, &err) != 0) {
		cli_complain("%s; try `anantactl --help`", err.text);
		return STATUS_USAGE;
	}
	if (options.wants_version) {
		printf("anantactl %s\n", ANANTA_VERSION);
		return STATUS_DONE;
	}
	enum status status = command_run(&options);
	if (fflush(stdout) != 0 && status == STATUS_DONE) {
		cli_complain("the output cannot be written");
		status = STATUS_REFUSED;
	}
	return (int)status;
}
