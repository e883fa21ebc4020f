package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocs holds docs/cli.md to the commands: everything after its mark is made of them (go test -rewrite).
func TestDocs(t *testing.T) {
	const mark = "<!-- What follows is made of the commands' help texts: go test ./internal/cli -rewrite -->\n"
	path := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(goldenDir))), "docs", "cli.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s lacks the line %s", path, mark)
	}
	var b strings.Builder
	b.WriteString(head + mark)
	root := (&app{Env: Env{Getenv: func(string) string { return "" }}}).root()
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(g.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == g.ID {
				describe(&b, cmd)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(text) {
		t.Errorf("docs/cli.md is not what the commands say: go test ./internal/cli -rewrite")
	}
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "130"} {
		if !strings.Contains(head, "| "+code+" |") {
			t.Errorf("docs/cli.md does not list exit code %s", code)
		}
	}
}

// describe writes a command and those below it.
func describe(b *strings.Builder, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	if cmd.Runnable() || cmd.HasSubCommands() {
		fmt.Fprintf(b, "\n### %s\n\n%s.\n\n```\n%s\n```\n", cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."), cmd.UseLine())
		if cmd.Long != "" {
			fmt.Fprintf(b, "\n%s\n", cmd.Long)
		}
		if cmd.Example != "" {
			fmt.Fprintf(b, "\n```\n%s\n```\n", dedent(cmd.Example))
		}
		describeFlags(b, cmd)
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			describe(b, sub)
		}
	}
}

func dedent(text string) string {
	return strings.TrimPrefix(strings.ReplaceAll(text, "\n  ", "\n"), "  ")
}

// common are the flags that many commands share, which the head of the document tells of.
var common = map[string]bool{"app": true, "file": true, "project-directory": true, "env-file": true, "profile": true, "help": true}

func describeFlags(b *strings.Builder, cmd *cobra.Command) {
	first := true
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if common[f.Name] {
			return
		}
		if first {
			b.WriteString("\n| flag | |\n|---|---|\n")
			first = false
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(b, "| %s | %s |\n", name, strings.ReplaceAll(f.Usage, "|", `\|`))
	})
}
