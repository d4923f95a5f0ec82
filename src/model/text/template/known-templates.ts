// Chat templates of ours for models whose files have none: formats that families were trained on,
// by name. ../choose-template.ts says which model gets which; chat-template.ts renders them.

/** Roles that speak in turn, between marks of their own. */
const CHATML = `
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages and messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{% endif %}
    {{- '# Tools\\n\\nYou may call functions. They are described within <tools></tools>:\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}
    {{- '\\n</tools>\\n\\nTo call one, write its name and arguments as JSON within ' }}
    {{- '<tool_call></tool_call>:\\n<tool_call>\\n' }}
    {{- '{"name": <function-name>, "arguments": <arguments-object>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
    {%- elif not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- if message.content or not loop.first %}{{- '\\n' }}{% endif %}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}`

const LLAMA2 = `
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + ' ' + eos_token }}
    {%- else %}
        {{- bos_token + '[INST] ' + (ns.system + message.content) | trim + ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- endif %}
{%- endfor %}`

const LLAMA3 = `
{{- bos_token }}
{%- set ns = namespace(told=false) %}
{%- for message in messages %}
    {%- set role = 'ipython' if message.role == 'tool' else message.role %}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' }}
    {%- if tools and message.role == 'user' and not ns.told %}
        {%- set ns.told = true %}
        {{- 'You may call these functions:\\n\\n' }}
        {%- for tool in tools %}{{- tool | tojson(indent=4) + '\\n\\n' }}{% endfor %}
        {{- 'To call one, answer with nothing but JSON of this form: ' }}
        {{- '{"name": <function-name>, "parameters": <arguments-object>}\\n\\n' }}
    {%- endif %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {%- if not loop.first %}{{- '; ' }}{% endif %}
            {{- '{"name": "' + call.function.name + '", "parameters": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}' }}
        {%- endfor %}
    {%- else %}
        {{- message.content | trim }}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}`

/** The first of Mistral and Mixtral, whose marks are letters. */
const MISTRAL = `
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = message.content + '\\n\\n' %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + eos_token }}
    {%- else %}
        {{- ' [INST] ' + ns.system + message.content + ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- endif %}
{%- endfor %}`

/** The later ones, whose marks are tokens. */
const MISTRAL_TOOLS = `
{{- bos_token }}
{%- set ns = namespace(system='', last=0) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = message.content + '\\n\\n' %}
    {%- elif message.role == 'user' %}
        {%- if tools and loop.index0 == ns.last %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + ns.system + message.content + '[/INST]' }}
        {%- set ns.system = '' %}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | tojson }}
        {%- if message.tool_call_id %}{{- ', "call_id": ' + message.tool_call_id | tojson }}{% endif %}
        {{- '}[/TOOL_RESULTS]' }}
    {%- elif message.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- if not loop.first %}{{- ', ' }}{% endif %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {%- if call.id %}{{- ', "id": ' + call.id | tojson }}{% endif %}
            {{- '}' }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- else %}
        {{- ' ' + message.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}`

const GEMMA = `
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set ns.system = message.content + '\\n\\n' %}
    {%- else %}
        {%- set role = 'model' if message.role == 'assistant' else message.role %}
        {{- '<start_of_turn>' + role + '\\n' + ns.system + message.content | trim + '<end_of_turn>\\n' }}
        {%- set ns.system = '' %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}`

const ZEPHYR = `
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}`

const PHI3 = `
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}`

const VICUNA = `
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- message.content + ' ' }}
    {%- elif message.role == 'assistant' %}
        {{- 'ASSISTANT: ' + message.content | trim + eos_token }}
    {%- else %}
        {{- 'USER: ' + message.content | trim + ' ' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'ASSISTANT:' }}{% endif %}`

const ALPACA = `
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- message.content + '\\n\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '### Response:\\n' + message.content + eos_token + '\\n\\n' }}
    {%- else %}
        {{- '### Instruction:\\n' + message.content + '\\n\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### Response:\\n' }}{% endif %}`

const FALCON = `
{%- for message in messages %}
    {%- if not loop.first %}{{- '\\n\\n' }}{% endif %}
    {{- (message.role | capitalize) + ': ' + message.content | trim }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '\\n\\nAssistant:' }}{% endif %}`

export const KNOWN_TEMPLATES: ReadonlyMap<string, string> = new Map([
  ['chatml', CHATML],
  ['llama2', LLAMA2],
  ['llama3', LLAMA3],
  ['mistral', MISTRAL],
  ['mistral-tools', MISTRAL_TOOLS],
  ['gemma', GEMMA],
  ['zephyr', ZEPHYR],
  ['phi3', PHI3],
  ['vicuna', VICUNA],
  ['alpaca', ALPACA],
  ['falcon', FALCON]
])
