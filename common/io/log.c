#include "common/io/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/text.h"

#define LINE_BYTES 1024

static enum log_level min_level = LOG_INFO;

void log_set_level(enum log_level level)
{
	min_level = level;
}

static size_t format_head(char *line, size_t size, enum log_level level, const char *event)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	text_format(line + n, size - n, ".%03ldZ level=%s event=%s ", now.tv_nsec / 1000000, names[level], event);
	return strlen(line);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	if (level < min_level)
		return;
	char line[LINE_BYTES];
	size_t n = format_head(line, sizeof line - 1, level, event);
	va_list args;
	va_start(args, format);
	text_vformat(line + n, sizeof line - 1 - n, format, args);
	va_end(args);
	n = strlen(line);
	for (char *p = line; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; // nobody reads stderr: there is nowhere to say so
}
