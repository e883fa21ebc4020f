package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the shell's script for completing commands and names",
		Long:  "The bash script needs the package bash-completion.",
		Example: "  holdfast completion bash > /etc/bash_completion.d/holdfast\n" +
			"  holdfast completion zsh > \"${fpath[1]}/_holdfast\"\n" +
			"  holdfast completion fish > ~/.config/fish/completions/holdfast.fish",
		Args:      args(1, 1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			switch given[0] {
			case "bash":
				err = cmd.Root().GenBashCompletionV2(a.Stdout, true)
			case "zsh":
				err = cmd.Root().GenZshCompletion(a.Stdout)
			case "fish":
				err = cmd.Root().GenFishCompletion(a.Stdout, true)
			default:
				return usage("no completion for shell %q: want bash, zsh or fish", given[0])
			}
			if err != nil {
				return fmt.Errorf("write completion: %w", err)
			}
			return nil
		},
	}
}
