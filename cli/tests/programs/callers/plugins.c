/* Opens each plugin that it is given, calls it, and closes it. */
#include <dlfcn.h>

int main(int count, char **names)
{
	for (int number = 1; number < count; number++) {
		void *plugin = dlopen(names[number], RTLD_NOW);

		if (!plugin)
			return 1;
		((int (*)(int))dlsym(plugin, "run"))(number); /* main */
		dlclose(plugin);
	}
	return 0;
}
