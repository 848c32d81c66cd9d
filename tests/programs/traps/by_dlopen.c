/* The library opened at run time and not preloaded. Usage: by_dlopen PATH */
#include "../trace.h"
#include <dlfcn.h>

int main(int argc, char **argv)
{
	int (*get)(key_t, size_t, int);
	int (*ctl)(int, int, struct shmid_ds *);
	void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!handle) {
		puts(dlerror());
		return 1;
	}
	*(void **)&get = dlsym(handle, "shmget");
	*(void **)&ctl = dlsym(handle, "shmctl");
	int shmid = (int)T(get(0x5e000065, PAGE, IPC_CREAT | 0600));
	T(get(0x5e000066, PAGE, 0600));
	T(ctl(shmid, IPC_RMID, NULL));
	T(dlclose(handle));
	T(shmget(0x5e000067, PAGE, 0600)); /* libc's own */
	return 0;
}
