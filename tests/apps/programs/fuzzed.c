/* What AFL++ fuzzes: each right character is one more branch to find. */
#include <unistd.h>

int main(void)
{
	char text[8] = "";
	if (read(0, text, sizeof text) < 4)
		return 1;
	if (text[0] != 'S')
		return 2;
	if (text[1] != 'E')
		return 3;
	return text[2] == 'A' ? 4 : 5;
}
