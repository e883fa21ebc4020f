package api

import (
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// notFound is the error for a name that none of names is, with the nearest of them, or a few, as a hint.
func notFound(noun, name string, names []string) error {
	return holdfast.Errorf(holdfast.ErrNotFound, "no %s %q%s", noun, name, hint(name, names))
}

// hint is what to add to an error about a name that is not one of names.
func hint(name string, names []string) string {
	if near := Nearest(name, names); near != "" {
		return ": did you mean " + near + "?"
	}
	const most = 8
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		return ""
	}
	names = slices.Sorted(slices.Values(names))
	return ": there is " + strings.Join(names, ", ")
}

// Nearest returns which of names is meant by a mistyped name: the one with the fewest edits, at most a third of the
// name's length and at least one; "" when none is that near.
func Nearest(name string, names []string) string {
	best, bestEdits := "", max(1, len(name)/3)+1
	for _, candidate := range slices.Sorted(slices.Values(names)) {
		if e := edits(name, candidate); e < bestEdits {
			best, bestEdits = candidate, e
		}
	}
	return best
}

// edits is the Levenshtein distance, with the exchange of two neighbours as one edit.
func edits(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
