// Programmers' errors only: a broken invariant stops the program. Bad input never gets here; it is refused or counted.
#pragma once

#define CHECK(condition)                       \
	do {                                       \
		if (__builtin_expect(!(condition), 0)) \
			__builtin_trap();                  \
	} while (0)
