/* Opens a plugin with RTLD_DEEPBIND, as PHP does its extensions. Usage: deepbind PLUGIN */
#include "../trace.h"
#include <dlfcn.h>

int probe(void);
int probe(void)
{
	return 1;
}

int main(int argc, char **argv)
{
	int (*calls)(void);
	void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND) : NULL;
	if (!handle) {
		puts(dlerror());
		return 1;
	}
	*(void **)&calls = dlsym(handle, "plugin_calls");
	printf("bound to %d\n", calls());
	return 0;
}
