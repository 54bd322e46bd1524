#include "manager/cli/config_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/io/json_reader.h"
#include "manager/cli/settings_json.h"
#include "manager/cli/vip_json.h"

#define PATH_BYTES 4096

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NO_MEMORY, "memory is short");
}

void config_set_fini(struct config_set *set)
{
	for (uint32_t i = 0; i < set->n_vips; i++)
		vip_config_destroy(set->vips[i].config);
	for (uint32_t i = 0; i < set->n_files; i++)
		memory_free(set->files[i]);
	memory_free(set->vips);
	memory_free(set->files);
	*set = (struct config_set){ 0 };
}

const struct vip_config *config_set_lookup(const struct config_set *set, const struct ip_addr *vip)
{
	uint32_t low = 0;
	uint32_t high = set->n_vips;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = ip_addr_compare(&set->vips[middle].config->vip, vip);
		if (order == 0)
			return set->vips[middle].config;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

// ---- documents ----

static int add_vip(struct config_set *set, json_t *root, const char *path, struct error *err)
{
	struct vip_config *config;
	int code = vip_json_read(root, path, &config, err);
	if (code != 0)
		return code;
	struct config_vip *vips = memory_grow(set->vips, set->n_vips, &set->capacity, sizeof *vips);
	if (vips == NULL) {
		vip_config_destroy(config);
		return no_memory(err);
	}
	set->vips = vips;
	set->vips[set->n_vips++] = (struct config_vip){ .config = config, .file = set->n_files - 1 };
	return 0;
}

static int add_vips(struct config_set *set, json_t *list, const char *name, struct error *err)
{
	char path[JSON_PATH_BYTES];
	int code = 0;
	for (size_t i = 0; code == 0 && i < json_array_size(list); i++) {
		(void)text_format(path, sizeof path, "%s[%zu].", name, i);
		code = add_vip(set, json_array_get(list, i), path, err);
	}
	return code;
}

static int add_settings(struct config_set *set, json_t *root, const char *path, struct error *err)
{
	if (set->has_settings)
		return error_set(err, ERR_INVALID, "settings: are in another file already");
	int code = settings_json_read(root, path, &set->settings, err);
	set->has_settings = code == 0;
	return code;
}

static int add_bundle(struct config_set *set, json_t *root, struct error *err)
{
	struct json_reader r;
	json_reader_init(&r, root, "", err);
	json_t *settings = json_reader_object(&r, "settings", false);
	json_t *vips = json_reader_array(&r, "vips", false);
	int code = json_reader_finish(&r);
	if (code == 0 && settings == NULL && vips == NULL)
		code = error_set(err, ERR_INVALID,
		                 "must be a VIP's document, a list of such, or an object with \"vips\", \"settings\" or both");
	if (code == 0 && settings != NULL)
		code = add_settings(set, settings, "settings.", err);
	return code != 0 || vips == NULL ? code : add_vips(set, vips, "vips", err);
}

static int add_document(struct config_set *set, json_t *root, const char *name, struct error *err)
{
	const char *slash = strrchr(name, '/');
	const char *base = slash != NULL ? slash + 1 : name;
	memset(err, 0, sizeof *err);
	if (json_is_array(root))
		return add_vips(set, root, "", err);
	if (json_object_get(root, "vip") != NULL)
		return add_vip(set, root, "", err);
	bool is_bundle = json_object_get(root, "settings") != NULL || json_object_get(root, "vips") != NULL;
	if (strcmp(base, "settings.json") == 0 && !is_bundle)
		return add_settings(set, root, "", err);
	return add_bundle(set, root, err);
}

static int begin_file(struct config_set *set, const char *name, struct error *err)
{
	char **files = memory_grow(set->files, set->n_files, &set->files_capacity, sizeof *files);
	if (files == NULL)
		return no_memory(err);
	set->files = files;
	files[set->n_files] = memory_copy(name, strlen(name) + 1);
	return files[set->n_files] != NULL ? (set->n_files++, 0) : no_memory(err);
}

static int compare_vips(const void *a, const void *b)
{
	const struct config_vip *x = a;
	const struct config_vip *y = b;
	int order = ip_addr_compare(&x->config->vip, &y->config->vip);
	return order != 0 ? order : (x->file > y->file) - (x->file < y->file);
}

static int sort_vips(struct config_set *set, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (set->n_vips > 1)
		qsort(set->vips, set->n_vips, sizeof *set->vips, compare_vips);
	for (uint32_t i = 1; i < set->n_vips; i++) {
		const struct config_vip *a = &set->vips[i - 1];
		const struct config_vip *b = &set->vips[i];
		if (ip_addr_equal(&a->config->vip, &b->config->vip))
			return error_set(err, ERR_INVALID, "%.150s: vip %s is in %.150s already", set->files[b->file],
			                 ip_addr_format(&b->config->vip, text), set->files[a->file]);
	}
	return 0;
}

int config_set_parse(const char *text, size_t n, const char *name, struct config_set *ret_set, struct error *err)
{
	struct config_set set = { 0 };
	json_t *root;
	int code = json_read_text(text, n, &root, err);
	if (code != 0)
		return code;
	code = begin_file(&set, name, err);
	if (code == 0)
		code = add_document(&set, root, name, err);
	if (code == 0)
		code = sort_vips(&set, err);
	json_decref(root);
	if (code == 0)
		*ret_set = set;
	else
		config_set_fini(&set);
	return code;
}

// ---- reading files ----

static int read_file(struct config_set *set, const char *path, struct error *err)
{
	const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
	json_t *root;
	int code = begin_file(set, name, err);
	if (code == 0)
		code = json_read_file(path, LIMIT_CONFIG_SET_BYTES, &root, err);
	if (code != 0)
		return code;
	code = add_document(set, root, path, err);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%.200s: ", name);
}

static int is_json_name(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

static void free_names(struct dirent **names, int n)
{
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int list_dir(const char *dir, struct dirent ***ret_names, struct error *err)
{
	int n = scandir(dir, ret_names, is_json_name, alphasort);
	return n >= 0 ? n : error_set(err, ERR_IO, "%.200s: %s", dir, strerror(errno));
}

static int read_dir(struct config_set *set, const char *dir, struct error *err)
{
	char path[PATH_BYTES];
	struct dirent **names;
	int n = list_dir(dir, &names, err);
	if (n < 0)
		return n;
	int code = n == 0 ? error_set(err, ERR_INVALID, "%.200s: holds no file *.json", dir) : 0;
	for (int i = 0; code == 0 && i < n; i++) {
		if (text_format(path, sizeof path, "%s/%s", dir, names[i]->d_name))
			code = read_file(set, path, err);
		else
			code = error_set(err, ERR_INVALID, "%.200s...: the name is too long", path);
	}
	free_names(names, n);
	return code;
}

int config_files_read(const char *const *paths, uint32_t n_paths, struct config_set *ret_set, struct error *err)
{
	struct config_set set = { 0 };
	struct stat info;
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < n_paths; i++) {
		bool is_dir = strcmp(paths[i], "-") != 0 && stat(paths[i], &info) == 0 && S_ISDIR(info.st_mode);
		code = is_dir ? read_dir(&set, paths[i], err) : read_file(&set, paths[i], err);
	}
	if (code == 0)
		code = sort_vips(&set, err);
	if (code == 0)
		*ret_set = set;
	else
		config_set_fini(&set);
	return code;
}

// ---- writing ----

static bool is_of(const struct vip_config *vip, const char *tenant)
{
	return tenant == NULL || strcmp(vip->tenant, tenant) == 0;
}

json_t *config_set_make(const struct store *state, const char *tenant)
{
	json_t *document = json_object();
	json_t *vips = json_array();
	if (state->has_settings && tenant == NULL)
		json_object_set_new(document, "settings", settings_json_make(&state->settings));
	for (uint32_t i = 0; i < state->vips.n; i++)
		if (is_of(store_vip(state, i), tenant))
			json_array_append_new(vips, vip_json_make(store_vip(state, i)));
	json_object_set_new(document, "vips", vips);
	return document;
}

static int write_file(const char *dir, const char *name, json_t *document, struct error *err)
{
	char path[PATH_BYTES];
	char fresh[PATH_BYTES];
	bool ok =
		text_format(path, sizeof path, "%s/%s", dir, name) && text_format(fresh, sizeof fresh, "%s/.%s.new", dir, name);
	if (ok)
		ok = json_dump_file(document, fresh, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0 && rename(fresh, path) == 0;
	json_decref(document);
	return ok ? 0 : error_set(err, ERR_IO, "%.200s/%.80s: cannot be written: %s", dir, name, strerror(errno));
}

static void format_name(const struct vip_config *vip, char *buf, size_t size)
{
	char text[IP_ADDR_TEXT_BYTES];
	(void)text_format(buf, size, "vip-%s.json", ip_addr_format(&vip->vip, text));
}

static bool is_written(const struct store *state, const char *tenant, const char *name)
{
	char own[IP_ADDR_TEXT_BYTES + 16];
	char text[IP_ADDR_TEXT_BYTES];
	struct ip_addr addr;
	if (strcmp(name, "settings.json") == 0)
		return state->has_settings && tenant == NULL;
	size_t n = strlen(name);
	if (strncmp(name, "vip-", 4) != 0 || n >= sizeof own || n < 10)
		return false;
	(void)text_format(text, sizeof text, "%.*s", (int)(n - 9), name + 4);
	if (ip_addr_parse(text, &addr, NULL) != 0)
		return false;
	const struct vip_config *vip = store_lookup_vip(state, &addr);
	if (vip == NULL || !is_of(vip, tenant))
		return false;
	format_name(vip, own, sizeof own);
	return strcmp(own, name) == 0;
}

static int check_others(const struct store *state, const char *tenant, const char *dir, struct error *err)
{
	struct dirent **names;
	int n = list_dir(dir, &names, err);
	int code = n < 0 ? n : 0;
	for (int i = 0; code == 0 && i < n; i++)
		if (!is_written(state, tenant, names[i]->d_name))
			code = error_set(
				err, ERR_CONFLICT,
				"%.200s: holds %.80s, which is not of this export, and `apply -f` would read it; remove it, or "
				"choose another directory",
				dir, names[i]->d_name);
	if (n >= 0)
		free_names(names, n);
	return code;
}

int config_files_write(const struct store *state, const char *tenant, const char *dir, uint32_t *ret_n_files,
                       struct error *err)
{
	char name[IP_ADDR_TEXT_BYTES + 16];
	uint32_t n = 0;
	if (mkdir(dir, 0777) != 0 && errno != EEXIST)
		return error_set(err, ERR_IO, "%.200s: %s", dir, strerror(errno));
	int code = check_others(state, tenant, dir, err);
	if (code == 0 && state->has_settings && tenant == NULL) {
		code =
			write_file(dir, "settings.json", json_pack("{s:o}", "settings", settings_json_make(&state->settings)), err);
		n++;
	}
	for (uint32_t i = 0; code == 0 && i < state->vips.n; i++) {
		const struct vip_config *vip = store_vip(state, i);
		if (!is_of(vip, tenant))
			continue;
		format_name(vip, name, sizeof name);
		code = write_file(dir, name, vip_json_make(vip), err);
		n++;
	}
	*ret_n_files = n;
	return code;
}
