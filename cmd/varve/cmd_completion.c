/*
 * cmd_completion.c - completion for bash and zsh, printed from the same tables that parse options.
 *
 *     source <(varve completion bash)          zsh: varve completion zsh > "${fpath[1]}/_varve"
 */
#include <string.h>

#include "cmd.h"

static const char *const words[] = {"bash", "zsh", NULL};

static void print_names(void)
{
    for (size_t i = 0; i < cmd_command_count; i++)
        (void)printf("%s%s", i > 0 ? " " : "", cmd_commands[i]->name);
}

/* Options and first words of a command, on one line. */
static void print_options(const cmd_command *command)
{
    bool common;
    const cmd_opt *o;
    for (size_t i = 0; (o = cmd_option_at(command, i, &common)) != NULL; i++)
        (void)printf("%s--%s", i > 0 ? " " : "", o->name);
    for (size_t i = 0; command->words != NULL && command->words[i] != NULL; i++)
        (void)printf(" %s", command->words[i]);
}

static bool is_path(const cmd_opt *o)
{
    return o->meta != NULL && (strcmp(o->meta, "FILE") == 0 || strcmp(o->meta, "DIR") == 0);
}

/* What may follow an option: its choices. The same option means the same in every command. */
static void print_bash_values(void)
{
    for (size_t i = 0; i < cmd_command_count; i++) {
        bool common;
        const cmd_opt *o;
        for (size_t j = 0; (o = cmd_option_at(cmd_commands[i], j, &common)) != NULL; j++) {
            if (o->type != CMD_CHOICE && !is_path(o))
                continue;
            (void)printf("        %s:--%s", cmd_commands[i]->name, o->name);
            if (o->letter != 0)
                (void)printf("|%s:-%c", cmd_commands[i]->name, o->letter);
            if (is_path(o)) {
                (void)printf(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
                continue;
            }
            (void)printf(") COMPREPLY=($(compgen -W \"");
            for (const char *c = o->meta; *c != 0; c++)
                (void)putchar(*c == '|' ? ' ' : *c);
            (void)printf("\" -- \"$cur\")); return ;;\n");
        }
    }
}

static void print_bash(void)
{
    (void)printf("# bash completion of varve: source <(varve completion bash)\n"
                 "_varve() {\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    COMPREPLY=()\n"
                 "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                 "        COMPREPLY=($(compgen -W \"");
    print_names();
    (void)printf("\" -- \"$cur\"))\n"
                 "        return\n"
                 "    fi\n"
                 "    case \"${COMP_WORDS[1]}:$prev\" in\n");
    print_bash_values();
    (void)printf("    esac\n"
                 "    case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; i < cmd_command_count; i++) {
        (void)printf("        %s) COMPREPLY=($(compgen -W \"", cmd_commands[i]->name);
        print_options(cmd_commands[i]);
        (void)printf("\" -- \"$cur\")) ;;\n");
    }
    (void)printf("    esac\n"
                 "    [ ${#COMPREPLY[@]} -gt 0 ] || [ \"${cur#-}\" != \"$cur\" ] ||\n"
                 "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                 "}\n"
                 "complete -F _varve varve\n");
}

/* Text inside single quotes of an _arguments specification. */
static void print_zsh_text(const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '\'')
            (void)printf("'\\''");
        else if (strchr("[]:", *text) != NULL)
            (void)printf("\\%c", *text);
        else
            (void)putchar(*text);
    }
}

static void print_zsh_option(const cmd_opt *o)
{
    (void)printf(" \\\n                '%s--%s[", o->type == CMD_LIST ? "*" : "", o->name);
    print_zsh_text(o->help);
    (void)printf("]");
    if (o->type == CMD_CHOICE) {
        (void)printf(":%s:(", o->name);
        for (const char *c = o->meta; *c != 0; c++)
            (void)putchar(*c == '|' ? ' ' : *c);
        (void)printf(")");
    } else if (o->type != CMD_FLAG) {
        (void)printf(":%s:%s", o->name, is_path(o) ? "_files" : "");
    }
    (void)printf("'");
}

static void print_zsh(void)
{
    (void)printf("#compdef varve\n"
                 "# zsh completion: varve completion zsh > \"${fpath[1]}/_varve\"\n"
                 "_varve() {\n"
                 "    local -a commands\n"
                 "    commands=(\n");
    for (size_t i = 0; i < cmd_command_count; i++) {
        (void)printf("        '%s:", cmd_commands[i]->name);
        print_zsh_text(cmd_commands[i]->summary);
        (void)printf("'\n");
    }
    (void)printf("    )\n"
                 "    if (( CURRENT == 2 )); then\n"
                 "        _describe command commands\n"
                 "        return\n"
                 "    fi\n"
                 "    local name=$words[2]\n"
                 "    shift words\n"
                 "    (( CURRENT-- ))\n"
                 "    case $name in\n");
    for (size_t i = 0; i < cmd_command_count; i++) {
        bool common;
        const cmd_opt *o;
        (void)printf("        %s)\n            _arguments", cmd_commands[i]->name);
        for (size_t j = 0; (o = cmd_option_at(cmd_commands[i], j, &common)) != NULL; j++)
            print_zsh_option(o);
        if (cmd_commands[i]->words != NULL) {
            (void)printf(" \\\n                '1:word:(");
            for (size_t j = 0; cmd_commands[i]->words[j] != NULL; j++)
                (void)printf("%s%s", j > 0 ? " " : "", cmd_commands[i]->words[j]);
            (void)printf(")'");
        }
        (void)printf(" \\\n                '*:file:_files'\n            ;;\n");
    }
    (void)printf("    esac\n"
                 "}\n"
                 "_varve \"$@\"\n");
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    (void)opaque;
    if (argc == 1 && strcmp(argv[0], "bash") == 0)
        print_bash();
    else if (argc == 1 && strcmp(argv[0], "zsh") == 0)
        print_zsh();
    else
        return cmd_usage(ctx, "the shell is needed: bash or zsh");
    return CMD_OK;
}

const cmd_command cmd_completion = {
    .name = "completion",
    .summary = "print the completion script of a shell",
    .synopsis = "bash|zsh",
    .details = "bash: source <(varve completion bash)\n"
               "zsh:  varve completion zsh > \"${fpath[1]}/_varve\"\n",
    .words = words,
    .run = run,
};
