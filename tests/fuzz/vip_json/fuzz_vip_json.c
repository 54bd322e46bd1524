// Any bytes as a VIP document, as one of the cluster's settings, and as a file of many: refused with a sentence, or a configuration that prints
// and parses back to itself.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "manager/cli/config_diff.h"
#include "manager/cli/settings_json.h"
#include "manager/cli/vip_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

// The text of a document, which goes.
static char *print(json_t *document)
{
	CHECK(document != NULL);
	char *text = json_dumps(document, 0);
	CHECK(text != NULL);
	json_decref(document);
	return text;
}

static void try_vip(const char *text, size_t n)
{
	struct error err = { 0 };
	struct vip_config *vip;
	struct vip_config *again;
	if (vip_json_parse(text, n, &vip, &err) != 0) {
		CHECK(err.code != 0 && err.text[0] != '\0');
		return;
	}
	char *printed = print(vip_json_make(vip));
	CHECK(vip_json_parse(printed, strlen(printed), &again, &err) == 0);
	CHECK(vip_config_equal(vip, again));
	vip_config_destroy(vip);
	vip_config_destroy(again);
	free(printed);
}

static void try_settings(const char *text, size_t n)
{
	struct error err = { 0 };
	struct cluster_settings settings;
	struct cluster_settings again;
	if (settings_json_parse(text, n, &settings, &err) != 0) {
		CHECK(err.code != 0 && err.text[0] != '\0');
		return;
	}
	char *printed = print(settings_json_make(&settings));
	CHECK(settings_json_parse(printed, strlen(printed), &again, &err) == 0);
	CHECK(cluster_settings_equal(&settings, &again));
	free(printed);
}

static void try_file(const char *text, size_t n)
{
	struct error err = { 0 };
	struct config_set set;
	struct config_set again;
	struct config_diff d;
	struct config_scope scope = { .prunes = true };
	struct store s;
	if (config_set_parse(text, n, "settings.json", &set, &err) != 0) {
		CHECK(err.code != 0 && err.text[0] != '\0');
		return;
	}
	store_init(&s);
	CHECK(config_diff_make(&s, &set, &scope, &d, &err) == 0);
	for (uint32_t i = 0; i < d.changes.n; i++)
		CHECK(store_apply(&s, &d.changes.items[i]) == 0);
	config_diff_fini(&d);
	char *printed = print(config_set_make(&s, NULL));
	CHECK(config_set_parse(printed, strlen(printed), "all.json", &again, &err) == 0);
	CHECK(config_diff_make(&s, &again, &scope, &d, &err) == 0 && d.changes.n == 0);
	config_diff_fini(&d);
	config_set_fini(&set);
	config_set_fini(&again);
	store_fini(&s);
	free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_file((const char *)data, n);
	try_vip((const char *)data, n);
	try_settings((const char *)data, n);
	return 0;
}
