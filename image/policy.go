package image

import (
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// needsPull decides whether an image is to be pulled. has tells whether the store has it, pulled when its reference
// was last resolved. Policies are Compose's: always, missing (the default), never, daily, weekly, every_<duration>.
func needsPull(policy string, has bool, pulled, now time.Time) (bool, error) {
	var every time.Duration
	switch policy {
	case "", "missing", "if_not_present", "never":
		return !has, nil
	case "always":
		return true, nil
	case "daily":
		every = 24 * time.Hour
	case "weekly":
		every = 7 * 24 * time.Hour
	default:
		text, ok := strings.CutPrefix(policy, "every_")
		if ok {
			every, ok = parseDays(text)
		}
		if !ok {
			return false, holdfast.Errorf(holdfast.ErrInvalid, "pull policy %q is unknown (always, missing, never, daily, weekly, every_<duration>)", policy)
		}
	}
	return !has || now.Sub(pulled) >= every, nil
}

// parseDays parses a positive duration that may start with weeks and days: "1w2d12h".
func parseDays(text string) (time.Duration, bool) {
	total, rest := time.Duration(0), text
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, false
		}
		total, rest = total+time.Duration(n)*unit.length, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, false
		}
		total += d
	}
	return total, total > 0
}
