// Any bytes as a VIP document: refused with a sentence, or a configuration that prints and parses back to itself.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "manager/cli/vip_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_round_trip(const struct vip_config *vip)
{
	struct error err = { 0 };
	struct vip_config *again;
	json_t *document = vip_json_make(vip);
	CHECK(document != NULL);
	char *text = json_dumps(document, 0);
	CHECK(text != NULL);
	CHECK(vip_json_parse(text, strlen(text), &again, &err) == 0);
	CHECK(vip_config_equal(vip, again));
	vip_config_destroy(again);
	free(text);
	json_decref(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct error err = { 0 };
	struct vip_config *vip;
	if (vip_json_parse((const char *)data, n, &vip, &err) != 0) {
		CHECK(err.code != 0 && err.text[0] != '\0');
		return 0;
	}
	check_round_trip(vip);
	vip_config_destroy(vip);
	return 0;
}
