/* A plugin, in two editions that are loaded at the same place. */
#include <sys/shm.h>

#if EDITION == 1
int first_edition(int key)
{
	return shmget(key, 0, 0) + 0 * key; /* edition 1 */
}
#else
int other_edition(int key)
{
	return shmget(key, 0, 0) + 0 * key; /* edition 2 */
}
#endif

int run(int key)
{
#if EDITION == 1
	return first_edition(key) + 0 * key; /* run 1 */
#else
	return other_edition(key) + 0 * key; /* run 2 */
#endif
}
