package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// age is a duration in one or two units: "350ms", "4.2s", "3m10s", "5h2m", "3d4h".
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

// two writes d in a large and, unless it is none, a small unit.
func two(d, large time.Duration, l string, small time.Duration, s string) string {
	rest := (d % large) / small
	if rest == 0 {
		return fmt.Sprintf("%d%s", d/large, l)
	}
	return fmt.Sprintf("%d%s%d%s", d/large, l, rest, s)
}

// since is the age of t, or "-" for no time.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(now.Sub(t))
}

// size is a number of bytes in binary units: "512 B", "1.5 KiB", "29 MiB".
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	if v < 10 {
		return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
	}
	return fmt.Sprintf("%.0f %ciB", v, "KMGTP"[i])
}

// plural is "1 replica", "2 replicas".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// shortDigest is the first twelve digits of a digest.
func shortDigest(d string) string {
	const prefix, digits = len("sha256:"), 12
	if len(d) > prefix+digits {
		return d[prefix : prefix+digits]
	}
	return d
}

// shortImage is a reference without its digest, and with a tag that is a digest cut short.
func shortImage(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	const shown = 12
	i := strings.LastIndexByte(ref, ':')
	if i > 0 && len(ref)-i-1 > 2*shown && strings.Trim(ref[i+1:], "0123456789abcdef") == "" {
		return ref[:i+1+shown]
	}
	return ref
}

var (
	pin        = regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
	longDigest = regexp.MustCompile(`\b([0-9a-f]{12})[0-9a-f]{13,}\b`)
)

// shortDigests makes a line that names images fit for people: no pins, and of other digests the first twelve digits.
func shortDigests(line string) string {
	return longDigest.ReplaceAllString(pin.ReplaceAllString(line, ""), "$1")
}
