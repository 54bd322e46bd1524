#include <stdarg.h>
#include <string.h>

#include "tests/sim/sim.h"

void trace_write(struct sim *s, uint32_t connection, const char *format, ...)
{
	va_list args;
	if (s->trace == NULL)
		return;
	fprintf(s->trace, "connection %u, %11.6f s: ", connection, (double)(s->now_us - START_US) / 1e6);
	va_start(args, format);
	vfprintf(s->trace, format, args);
	va_end(args);
	fputc('\n', s->trace);
}

const char *trace_flags(uint8_t tcp_flags)
{
	static const struct {
		uint8_t flag;
		const char *name;
	} names[] = { { TCP_SYN, "SYN" }, { TCP_FIN, "FIN" }, { TCP_RST, "RST" }, { TCP_ACK, "ACK" } };
	static char text[32];
	text[0] = '\0';
	for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!(tcp_flags & names[i].flag))
			continue;
		if (text[0] != '\0')
			strcat(text, " ");
		strcat(text, names[i].name);
	}
	return text;
}
