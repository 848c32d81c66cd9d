/* The C API at its edges: small buffers, NULL, other threads. For a session that denies everything. */
#include "trace.h"
#include <dlfcn.h>

static size_t (*last)(char *, size_t);

static void *elsewhere(void *unused)
{
	printf("another thread: %zu\n", last(NULL, 0));
	return unused;
}

int main(void)
{
	const char *(*version)(void), *(*backend)(void);
	int (*counters)(int, void *);
	char whole[1024], part[1024];
	pthread_t thread;
	*(void **)&last = dlsym(RTLD_DEFAULT, "shmgate_last_denial");
	*(void **)&version = dlsym(RTLD_DEFAULT, "shmgate_version");
	*(void **)&backend = dlsym(RTLD_DEFAULT, "shmgate_backend");
	*(void **)&counters = dlsym(RTLD_DEFAULT, "shmgate_counters");
	if (!last || !version || !backend || !counters)
		return 1;
	strcpy(whole, "x");
	size_t length = last(whole, sizeof whole);
	printf("before: %zu, \"%s\"\n", length, whole);
	if (shmget(IPC_PRIVATE, 1, 0600) != -1)
		puts("not denied");
	length = last(whole, sizeof whole);
	int good = length == strlen(whole) && strstr(whole, "closed") != NULL;
	for (size_t size = 1; size <= length + 3; size++) {
		memset(part, '#', sizeof part);
		size_t fits = size - 1 < length ? size - 1 : length;
		good = good && last(part, size) == length && strlen(part) == fits && !memcmp(part, whole, fits) && part[size] == '#';
	}
	part[0] = '#';
	good = good && last(part, 0) == length && part[0] == '#';
	printf("sizes: %s\n", good ? "ok" : "wrong");
	printf("NULL with 0: %s\n", last(NULL, 0) == length ? "ok" : "wrong");
	pthread_create(&thread, NULL, elsewhere, NULL);
	pthread_join(thread, NULL);
	errno = 0;
	printf("NULL counters: %s\n", counters(0, NULL) == -1 ? errname(errno) : "taken");
	printf("version: %s\n", strchr(version(), '.') ? "ok" : version());
	printf("backend: %s\n", backend());
	return 0;
}
