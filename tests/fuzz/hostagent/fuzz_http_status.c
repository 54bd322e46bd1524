// Any bytes as the beginning of an HTTP response: what is found is a status, and it does not matter in which pieces they came.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/http_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint16_t status = 0;
	enum http_status_outcome whole = http_status_parse(data, size, &status);
	CHECK((whole == HTTP_STATUS_FOUND) == (status >= 100 && status <= 599));
	enum http_status_outcome so_far = HTTP_STATUS_MORE;
	for (size_t n = 0; n <= size && so_far == HTTP_STATUS_MORE; n++) {
		uint8_t *piece = malloc(n); // so that ASan sees any byte beyond
		uint16_t of_piece = 0;
		if (n > 0)
			memcpy(piece, data, n);
		so_far = http_status_parse(piece, n, &of_piece);
		CHECK(so_far != HTTP_STATUS_FOUND || of_piece == status);
		free(piece);
	}
	CHECK(so_far == whole);
	return 0;
}
