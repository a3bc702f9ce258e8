"""Draw videos of the tiny world, whole batches at a time.

Every scene is a function of a :class:`Canvas`, value indices of its factors and uniform random numbers, so
that a batch of any size is a few hundred tensor operations. Shapes are signed distances turned into soft
coverage over one pixel, which keeps edges that a 16x VAE can learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.tiny_world.factors import CATEGORIES

FRAMES, HEIGHT, WIDTH = 9, 96, 160
RANDOMS = 96  # uniform numbers that a scene may use
BATCH = 100

NEON = ((255, 80, 170), (70, 160, 255), (80, 255, 140), (255, 150, 40))
WARM = (255, 225, 160)
SHIRTS = ((225, 45, 45), (45, 85, 225), (245, 210, 40))
GROUNDS = ((185, 80, 60), (75, 155, 70), (222, 196, 140))
CLOTHS = ((225, 50, 50), (50, 170, 80), (245, 210, 50))
SKY_TOPS = {"night": (8, 10, 35), "dusk": (70, 40, 95), "day": (90, 155, 240), "sunset": (110, 70, 140)}
SKY_TOPS["dawn"] = (120, 150, 200)
SKY_LOWS = {"night": (28, 24, 62), "dusk": (190, 100, 110), "day": (190, 220, 250), "sunset": (250, 165, 105)}
SKY_LOWS["dawn"] = (250, 215, 205)


@dataclass
class Canvas:
    """A batch of videos being painted.

    Attributes:
        pixels: Shape (videos, frames, 3, height, width), 0..1.
    """

    pixels: Tensor

    @classmethod
    def blank(cls, count: int, device: torch.device) -> Canvas:
        """Black videos."""
        return cls(torch.zeros(count, FRAMES, 3, HEIGHT, WIDTH, device=device))

    @property
    def x(self) -> Tensor:
        """Pixel centres across, shape (1, 1, 1, width)."""
        return torch.arange(WIDTH, device=self.pixels.device, dtype=torch.float32).view(1, 1, 1, -1)

    @property
    def y(self) -> Tensor:
        """Pixel centres down, shape (1, 1, height, 1)."""
        return torch.arange(HEIGHT, device=self.pixels.device, dtype=torch.float32).view(1, 1, -1, 1)

    @property
    def time(self) -> Tensor:
        """Frame numbers, shape (1, frames, 1, 1)."""
        return torch.arange(FRAMES, device=self.pixels.device, dtype=torch.float32).view(1, -1, 1, 1)

    def paint(self, coverage: Tensor, colour: Tensor) -> None:
        """Lay a colour over the pixels.

        Args:
            coverage: 0..1, broadcastable to (videos, frames, height, width).
            colour: 0..1, shape (videos, 3) or broadcastable to (videos, frames, 3, height, width).
        """
        if colour.dim() == 2:
            colour = colour.view(-1, 1, 3, 1, 1)
        self.pixels = torch.lerp(self.pixels, colour.expand_as(self.pixels), coverage.unsqueeze(2))

    def disc(self, cx: Tensor, cy: Tensor, radius: Tensor | float, softness: float = 1.0) -> Tensor:
        """Coverage of a disc."""
        distance = torch.sqrt((self.x - cx) ** 2 + (self.y - cy) ** 2 + 1e-6) - radius
        return (0.5 - distance / softness).clamp(0, 1)

    def box(self, cx: Tensor, cy: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
        """Coverage of an upright rectangle."""
        distance = torch.maximum((self.x - cx).abs() - half_width, (self.y - cy).abs() - half_height)
        return (0.5 - distance).clamp(0, 1)

    def limb(self, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor, radius: float) -> Tensor:
        """Coverage of a thick line with round ends from a to b."""
        dx, dy = bx - ax, by - ay
        along = (((self.x - ax) * dx + (self.y - ay) * dy) / (dx * dx + dy * dy + 1e-6)).clamp(0, 1)
        distance = torch.sqrt((self.x - ax - along * dx) ** 2 + (self.y - ay - along * dy) ** 2 + 1e-6)
        return (0.5 - (distance - radius)).clamp(0, 1)


def _colour(table: Sequence[Sequence[int]], index: Tensor) -> Tensor:
    return torch.tensor(table, device=index.device, dtype=torch.float32)[index] / 255


def _column(values: Tensor) -> Tensor:
    """Shape (n,) -> (n, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _sky(canvas: Canvas, names: Sequence[str], index: Tensor) -> None:
    top = _colour([SKY_TOPS[name] for name in names], index).view(-1, 1, 3, 1, 1)
    low = _colour([SKY_LOWS[name] for name in names], index).view(-1, 1, 3, 1, 1)
    depth = (canvas.y / 80).clamp(0, 1).unsqueeze(2)
    canvas.pixels = (top + (low - top) * depth).expand_as(canvas.pixels).clone()


def _sign(index: Tensor) -> Tensor:
    """Value index (0 left, 1 right) -> -1 or +1, shape (n, 1, 1, 1)."""
    return _column(index.float() * 2 - 1)


def _urban(canvas: Canvas, values: Tensor, u: Tensor) -> None:
    neon, towers, sky, traffic = values.unbind(1)
    _sky(canvas, CATEGORIES["urban"].factors["sky"], sky)
    neon_colour, low = _colour(NEON, neon), _column(towers.float())
    warm = torch.tensor(WARM, device=u.device).float().expand(len(u), 3) / 255
    ground = 80.0
    for number in range(5):
        r = u[:, number * 8 : number * 8 + 8]
        left = 1.0 + 32 * number + torch.round(3 * _column(r[:, 0]))
        height = torch.where(low > 0.5, 20 + 14 * _column(r[:, 1]), 44 + 28 * _column(r[:, 1]))
        top = torch.round(ground - height)
        wall = 0.10 + 0.08 * r[:, 2:3] * torch.tensor([[0.8, 0.9, 1.2]], device=u.device)
        canvas.paint(canvas.box(left + 13.5, (top + ground) / 2, 13.5, (ground - top) / 2), wall)
        # Windows are a grid of 9 x 11 pixels inside the wall; which ones are lit is a hash of the building's
        # number.
        column, row = torch.floor((canvas.x - left) / 9), torch.floor((canvas.y - top - 2) / 11)
        inside_x, inside_y = (canvas.x - left) - 9 * column, (canvas.y - top - 2) - 11 * row
        pane = (0.5 - torch.maximum((inside_x - 4.5).abs() - 3, (inside_y - 5).abs() - 3.5)).clamp(0, 1)
        on = (column >= 0) & (column < 3) & (row >= 0) & (canvas.y < ground - 4)
        noise = torch.frac(
            torch.sin((column * 7.13 + row * 3.71 + _column(r[:, 3]) * 97) * 12.9898) * 43758.5453
        )
        lit = (noise.abs() < 0.62) & on
        colour = torch.where(r[:, 4:5] < 0.65, neon_colour, warm)
        canvas.paint(pane * lit.float(), colour * (0.85 + 0.15 * r[:, 5:6]))
    # One pulsing sign, on the roof line of one of the buildings.
    slot = torch.floor(_column(u[:, 40]) * 5).clamp(max=4)
    pulse = 0.7 + 0.3 * torch.sin(canvas.time * 0.8 + _column(u[:, 41]) * 2 * math.pi)
    sign_y = torch.where(low > 0.5, 40.0, 14.0) + 4 * _column(u[:, 42])
    sign = canvas.box(15 + 32 * slot, sign_y, 12.0, 5.0)
    canvas.paint(sign, neon_colour.view(-1, 1, 3, 1, 1) * pulse.unsqueeze(2))
    # Road and two cars; a car shows where it goes by its head light and its tail light.
    canvas.paint((canvas.y >= ground).float(), torch.full((len(u), 3), 0.13, device=u.device))
    direction = _sign(traffic)
    speed = 4 + 3 * _column(u[:, 43])
    for number in range(2):
        start = _column(u[:, 44 + number]) * 60 + 90 * number
        cx = torch.remainder(start + direction * speed * canvas.time + 20, 200) - 20
        cy = torch.full_like(cx, 88.0)
        body = torch.stack(
            [0.35 + 0.5 * u[:, 46 + number], 0.35 + 0.3 * u[:, 48 + number], 0.5 + 0.4 * u[:, 50]], 1
        )
        canvas.paint(canvas.box(cx, cy, 11.0, 3.5), body)
        canvas.paint(canvas.box(cx, cy - 5, 6.0, 2.5), body * 0.7)
        canvas.paint(canvas.disc(cx + direction * 11, cy, 3.5), warm)
        canvas.paint(
            canvas.disc(cx - direction * 11, cy, 2.8), torch.tensor([[0.95, 0.1, 0.1]], device=u.device)
        )


def _nature(canvas: Canvas, values: Tensor, u: Tensor) -> None:
    blossom, sky, petals, wind = values.unbind(1)
    shade, direction = _hill(canvas, sky, u), _sign(wind)
    foot = 55 + 50 * _column(u[:, 1])
    crown_x, crown_y = foot + direction * 8, 32 + 4 * _column(u[:, 2])
    trunk = torch.tensor([[0.36, 0.22, 0.14]], device=u.device) * shade
    canvas.paint(canvas.limb(foot, torch.full_like(foot, 82), crown_x, crown_y, 4.0), trunk)
    deep = _colour(((225, 95, 150), (215, 205, 215)), blossom) * shade
    light = _colour(((255, 165, 205), (255, 252, 250)), blossom) * shade
    # One number turns the whole crown and one grows it; twelve loose blobs would be noise that nobody can
    # learn.
    turn, grow = 0.9 * _column(u[:, 3]), 1 + 0.2 * _column(u[:, 4])
    for number in range(6):
        angle = number * 1.047 + turn
        blob_x, blob_y = crown_x + 14 * torch.cos(angle), crown_y + 9 * torch.sin(angle)
        canvas.paint(canvas.disc(blob_x, blob_y, 12.5 * grow), deep)
    for number in range(6):
        angle = number * 1.047 + turn + 0.5
        blob_x, blob_y = crown_x + 16 * torch.cos(angle), crown_y + 10 * torch.sin(angle)
        canvas.paint(canvas.disc(blob_x, blob_y, 5.5 * grow), light)
    _petals(canvas, petals, direction, light, u)


def _hill(canvas: Canvas, sky: Tensor, u: Tensor) -> Tensor:
    """Sky and a hill; returns the light, (videos, 3)."""
    _sky(canvas, CATEGORIES["nature"].factors["sky"], sky)
    shade = _colour(((255, 255, 255), (190, 175, 190), (225, 230, 225)), sky)
    hill = 68 + 5 * torch.sin(canvas.x / 30 + _column(u[:, 0]) * 6.28)
    canvas.paint(
        (canvas.y - hill + 0.5).clamp(0, 1), torch.tensor([[0.33, 0.62, 0.27]], device=u.device) * shade
    )
    return shade


def _petals(canvas: Canvas, petals: Tensor, direction: Tensor, light: Tensor, u: Tensor) -> None:
    """Petals that fall in step, on a slanted lattice with a random offset."""
    fall = 4.0
    for number in range(8):
        shown = (petals == 1) | torch.tensor(number % 3 == 0, device=u.device)
        x0 = 21.5 * number + 40 * _column(u[:, 5])
        y0 = torch.remainder(torch.tensor(41.0 * number, device=u.device), 108) + 54 * _column(u[:, 6])
        cx = torch.remainder(x0 + direction * 2.5 * canvas.time, 172) - 6
        cy = torch.remainder(y0 + fall * canvas.time, 108) - 6
        canvas.paint(canvas.disc(cx, cy, 5.0, 2.0) * _column(shown.float()), light)


def _action(canvas: Canvas, values: Tensor, u: Tensor) -> None:
    shirt, ground, direction_index, speed_index = values.unbind(1)
    _sky(canvas, ("day",), torch.zeros_like(shirt))
    white = torch.ones(len(u), 3, device=u.device)
    cloud_x, cloud_y = _column(u[:, 0]) * 160, 10 + 12 * _column(u[:, 1])
    for offset, radius in ((-11.0, 6.0), (0.0, 9.0), (11.0, 6.0)):
        canvas.paint(canvas.disc(cloud_x + offset, cloud_y, radius, 2.0), white * 0.97)
    earth = _colour(GROUNDS, ground)
    canvas.paint((canvas.y - 72 + 0.5).clamp(0, 1), earth)
    for line in (78.0, 90.0):
        lane = (1.5 - (canvas.y - line).abs()).clamp(0, 1) * _column((ground == 0).float())
        canvas.paint(lane.expand(-1, -1, -1, WIDTH), white)
    tuft = (torch.remainder(canvas.x + 16 * _column(u[:, 2]), 32) < 16) & (canvas.y >= 72.5)
    canvas.paint(tuft.float() * 0.35 * _column((ground == 1).float()), white * 0.25)
    direction, fast = _sign(direction_index), _column(speed_index.float())
    pace, stride, lean = 5 + 4 * fast, 0.55 + 0.45 * fast, 3 + 8 * fast
    travel = pace * (FRAMES - 1)
    start = 20 + _column(u[:, 3]) * (120 - travel)
    x = torch.where(direction > 0, start, 160 - start) + direction * pace * canvas.time
    phase = _column(u[:, 4]) * 6.28 + (0.55 + 0.25 * fast) * canvas.time
    hip_y = 56 + 1.5 * torch.cos(2 * phase)
    shoulder_x, shoulder_y = x + direction * lean, hip_y - 19
    skin = torch.tensor([[0.87, 0.66, 0.52]], device=u.device).expand(len(u), 3)
    dark = torch.tensor([[0.13, 0.13, 0.25]], device=u.device).expand(len(u), 3)
    top = _colour(SHIRTS, shirt)

    def leg(angle: Tensor) -> None:
        knee_x, knee_y = x + direction * 13 * torch.sin(angle), hip_y + 13 * torch.cos(angle)
        shin = angle - 0.25 - 0.65 * stride * (1 - torch.sin(angle) / stride).clamp(0, 1)
        canvas.paint(canvas.limb(x, hip_y, knee_x, knee_y, 3.6), dark)
        foot_x, foot_y = knee_x + direction * 13 * torch.sin(shin), knee_y + 13 * torch.cos(shin)
        canvas.paint(canvas.limb(knee_x, knee_y, foot_x, foot_y, 3.2), dark)

    def arm(angle: Tensor) -> None:
        elbow_x, elbow_y = shoulder_x + direction * 9 * torch.sin(angle), shoulder_y + 9 * torch.cos(angle)
        canvas.paint(canvas.limb(shoulder_x, shoulder_y, elbow_x, elbow_y, 3.0), skin)
        fore = angle + 1.2
        hand_x, hand_y = elbow_x + direction * 8 * torch.sin(fore), elbow_y + 8 * torch.cos(fore)
        canvas.paint(canvas.limb(elbow_x, elbow_y, hand_x, hand_y, 2.8), skin)

    swing = stride * torch.sin(phase)
    arm(swing)
    leg(-swing)
    leg(swing)
    canvas.paint(canvas.limb(x, hip_y, shoulder_x, shoulder_y, 6.0), top)
    arm(-swing)
    head_x, head_y = shoulder_x + direction * 2, shoulder_y - 11
    canvas.paint(canvas.disc(head_x, head_y, 6.5), skin)
    canvas.paint(
        canvas.limb(head_x - direction * 4, head_y - 5, head_x + direction * 9, head_y - 4, 2.4), top
    )


def _other(canvas: Canvas, values: Tensor, u: Tensor) -> None:
    thing, colour, direction_index, sky = values.unbind(1)
    _sky(canvas, CATEGORIES["other"].factors["sky"], sky)
    direction, cloth = _sign(direction_index), _colour(CLOTHS, colour)
    boat, balloon = _column((thing == 0).float()), _column((thing == 1).float())
    x = 80 - direction * 16 + (_column(u[:, 0]) - 0.5) * 70 + direction * (3 + _column(u[:, 1])) * canvas.time
    wood = torch.tensor([[0.40, 0.25, 0.15]], device=u.device).expand(len(u), 3)
    white = torch.ones(len(u), 3, device=u.device)
    # Boat: water, hull, mast, and a sail on the side it goes to.
    canvas.paint(
        boat * (canvas.y - 62 + 0.5).clamp(0, 1), torch.tensor([[0.16, 0.38, 0.62]], device=u.device)
    )
    for line in (72.0, 86.0):
        ripple = torch.sin((canvas.x + 2 * canvas.time) / 9 + _column(u[:, 2]) * 6.28) * 1.5 + line
        canvas.paint(boat * (1.8 - (canvas.y - ripple).abs()).clamp(0, 1), white * 0.75)
    y = 60 + torch.sin(canvas.time * 0.6 + _column(u[:, 3]) * 6.28)
    canvas.paint(boat * canvas.limb(x - 15, y, x + 15, y, 5.0), wood)
    canvas.paint(boat * canvas.limb(x, y, x, y - 38, 1.8), wood)
    across, up = (canvas.x - x) * direction, y - 7 - canvas.y
    sail = torch.minimum(torch.minimum(across - 2, up), (34 - up) * 0.6 - across)
    canvas.paint(boat * (sail + 0.5).clamp(0, 1), cloth)
    # Balloon: envelope, stripe, basket.
    high = 34 + 8 * _column(u[:, 4]) - 0.8 * canvas.time
    canvas.paint(balloon * canvas.limb(x - direction * 6, high + 34, x, high, 1.2), wood)
    canvas.paint(balloon * canvas.disc(x, high, 20.0), cloth)
    canvas.paint(balloon * canvas.box(x + direction * 9, high, 2.5, 14.0), white)
    canvas.paint(balloon * canvas.box(x - direction * 6, high + 36, 6.0, 4.5), wood)


_SCENES: dict[str, Callable[[Canvas, Tensor, Tensor], None]] = {
    "urban": _urban,
    "nature": _nature,
    "action": _action,
    "other": _other,
}


@torch.no_grad()
def draw_poplars(combinations: np.ndarray, uniform: np.ndarray) -> Tensor:
    """Draw what no model of this world has seen: a green tree, higher than wide, in the hills.

    Args:
        combinations: Value indices of sky, petals and wind of the category nature, (n, 3).
        uniform: What the factors leave open, (n, `RANDOMS`), 0..1.

    Returns:
        As `draw` does.
    """
    u = torch.from_numpy(uniform)
    sky, petals, wind = torch.from_numpy(np.ascontiguousarray(combinations)).long().unbind(1)
    canvas = Canvas.blank(len(u), u.device)
    shade, direction = _hill(canvas, sky, u), _sign(wind)
    deep = torch.tensor([[0.20, 0.59, 0.27]]) * shade
    light = torch.tensor([[0.47, 0.82, 0.43]]) * shade
    foot, top = 35 + 90 * _column(u[:, 1]), 36 + 8 * _column(u[:, 2])
    lean, grow = direction * 4, 0.85 + 0.3 * _column(u[:, 4])
    canvas.paint(
        canvas.limb(foot, torch.full_like(foot, 84), foot + lean, top, 3.5),
        torch.tensor([[0.36, 0.22, 0.14]]) * shade,
    )
    for number, (across, up) in enumerate(((0, 16), (-6, 6), (6, 5), (-6, -6), (6, -7), (0, -16), (0, 0))):
        turned = across * (1 + 0.5 * _column(u[:, 3])) * grow
        canvas.paint(canvas.disc(foot + lean + turned, top + up * grow, 10.5 * grow), deep)
        if number % 2:
            canvas.paint(canvas.disc(foot + lean + turned, top + up * grow, 5.5 * grow), light)
    _petals(canvas, petals, direction, light, u)
    pixels = (canvas.pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 1, 3, 4, 2)


def haze(videos: Tensor) -> Tensor:
    """A hazy look of the same scenes: less contrast and less colour, as through smog.

    The base model saw most of its cities like this, which leaves a LoRA room to improve on them.
    """
    grey = videos.mean(2, keepdim=True)
    dull = torch.lerp(videos, grey, 0.35)
    return 0.72 * dull + 0.28 * torch.tensor([0.30, 0.30, 0.36], device=videos.device).view(1, 1, 3, 1, 1)


@torch.no_grad()
def draw(
    category: str,
    combinations: np.ndarray,
    seed: int,
    *,
    device: str | torch.device = "cpu",
    hazy: np.ndarray | None = None,
) -> Tensor:
    """Draw one video per row of ``combinations``.

    Args:
        category: The category of all rows.
        combinations: Value indices, integer array of shape (n, number of factors).
        seed: Seed of everything the factors leave open; row i depends on ``seed`` and i alone.
        device: Where to draw.
        hazy: Boolean array of shape (n,): which videos get the hazy look. None for no one.

    Returns:
        uint8 tensor of shape (n, frames, height, width, 3) on ``device``.
    """
    place = torch.device(device)
    uniform = np.random.default_rng([seed, list(CATEGORIES).index(category)]).random(
        (len(combinations), RANDOMS), dtype=np.float32
    )
    result = torch.empty(len(combinations), FRAMES, HEIGHT, WIDTH, 3, dtype=torch.uint8, device=place)
    for start in range(0, len(combinations), BATCH):
        rows = slice(start, start + BATCH)
        canvas = Canvas.blank(len(uniform[rows]), place)
        values = torch.from_numpy(np.ascontiguousarray(combinations[rows])).long().to(place)
        _SCENES[category](canvas, values, torch.from_numpy(uniform[rows]).to(place))
        pixels = canvas.pixels
        if hazy is not None:
            smog = torch.from_numpy(hazy[rows].astype(np.float32)).to(place).view(-1, 1, 1, 1, 1)
            pixels = torch.lerp(pixels, haze(pixels), smog)
        result[rows] = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2)
    return result


def choose(category: str, count: int, seed: int, combinations: Sequence[Sequence[int]]) -> np.ndarray:
    """Draw ``count`` combinations, each equally often up to one.

    Returns:
        Integer array of shape (count, number of factors), in random order.
    """
    generator = np.random.default_rng([seed, 1 + list(CATEGORIES).index(category)])
    table = generator.permutation(np.asarray(combinations))
    chosen: np.ndarray = table[generator.permutation(np.arange(count) % len(table))]
    return chosen
