#include "manager/cli/help.h"

#include <string.h>

#include "common/base/text.h"

static const char global_options[] =
	"options, which may stand anywhere:\n"
	"  --managers A:P,B:P,...  where the managers are; also from the environment: ANANTA_MANAGERS\n"
	"  -o text|json            for people (the default) or for programs\n"
	"  --timeout SECONDS       how long to wait for an answer (default 5)\n"
	"  --help                  of anantactl, of `anantactl NOUN`, of `anantactl NOUN VERB`\n"
	"  --version               print the version\n";

static const char exit_codes[] =
	"exit codes: 0 done; 1 refused by the cluster; 2 wrong usage or input file; 3 no leader reached\n";

static void add_options(char *buf, size_t size, unsigned bits, const char *format)
{
	for (unsigned bit = 1; bit < 1u << OPTION_BITS; bit <<= 1) {
		size_t used = strlen(buf);
		if ((bits & bit) != 0)
			(void)text_format(buf + used, size - used, format, option_usage(bit));
	}
}

// "host attach HOST --name VM --dip ADDRESS ... [--agent-socket PATH]"
static void format_usage(const struct command *c, char *buf, size_t size)
{
	char name[COMMAND_NAME_BYTES];
	(void)text_format(buf, size, "%s%s%s", command_name(c, name), c->operand != NULL ? " " : "",
	                  c->operand != NULL ? c->operand : "");
	add_options(buf, size, c->required, " %s");
	add_options(buf, size, c->optional, " [%s]");
}

static void print_group(const struct command *group)
{
	for (const struct command *c = group; c->noun != NULL; c++) {
		char usage[256];
		format_usage(c, usage, sizeof usage);
		if (strlen(usage) <= 26)
			printf("  %-26s %s\n", usage, c->summary);
		else
			printf("  %s\n  %-26s %s\n", usage, "", c->summary);
	}
}

void help_print_all(const struct command *const *groups)
{
	printf(
		"usage: anantactl [options] NOUN VERB ...\n\nOperates an Ananta cluster through whichever manager leads.\n\n");
	for (; *groups != NULL; groups++)
		print_group(*groups);
	printf("  %-26s %s\n\n%s\n%s", "help [NOUN [VERB]]", "print this text, or that of a command", global_options,
	       exit_codes);
}

void help_print_noun(const struct command *const *groups, const char *noun)
{
	printf("usage: anantactl [options] %s VERB ...\n\n", noun);
	for (; *groups != NULL; groups++)
		if (strcmp((*groups)->noun, noun) == 0)
			print_group(*groups);
	printf("\n%s", global_options);
}

void help_print_command(const struct command *c)
{
	char usage[256];
	format_usage(c, usage, sizeof usage);
	printf("usage: anantactl [options] %s\n\n%s\n\nexample:\n  anantactl %s\n\n%s", usage, c->summary, c->example,
	       global_options);
}
