// Package rules holds the tests of what the compiler cannot check: which package may import which, and that files
// named in the documents exist.
package rules
